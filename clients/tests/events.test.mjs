// Events without any SDK: the npm package `eventsource`, which follows the HTML standard as browsers do.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { room, sdk, TRANSPORTS } from './sdk.mjs';
import { GUARDED, inSeconds, layWire, startNode, token } from './server.mjs';
import { eventually } from './wait.mjs';

const NAMES = ['message', 'join', 'leave', 'counter', 'presence', 'gap', 'expired', 'disconnect'];

let node;
before(async () => {
  node = await startNode(undefined, GUARDED);
});
after(() => node?.dispose());

/** An open event source with what it heard as `{ event, id, data }`; `path` as on the node, with a token of ann's. */
async function listen(t, path, { base = node, claims } = {}) {
  const address = new URL(path, base.http);
  address.searchParams.set('token', token('ann', claims));
  const statuses = [];
  const source = new EventSource(address, {
    fetch: async (...call) => {
      const answer = await fetch(...call);
      statuses.push(answer.status);
      return answer;
    },
  });
  t.after(() => source.close());
  const heard = [];
  for (const event of NAMES) {
    source.addEventListener(event, ({ data, lastEventId: id }) => heard.push({ event, id, data: JSON.parse(data) }));
  }
  await eventually('the stream is open', () => source.readyState === EventSource.OPEN);
  const of = (event, count = 1) =>
    eventually(`${count} of ${event}, heard ${JSON.stringify(heard)}`, () => {
      const found = heard.filter((one) => one.event === event);
      return found.length >= count && found;
    });
  return { source, heard, of, statuses };
}

test('one channel: messages come in order as publications with their ids', async (t) => {
  const channel = room();
  const { of } = await listen(t, `/v1/channels/${channel}/events`);
  for (let index = 1; index <= 5; index += 1) await node.publish(channel, { index });
  const messages = await of('message', 5);
  assert.deepEqual(messages.map(({ data }) => [data.data.index, data.offset, data.channel]), [1, 2, 3, 4, 5].map((index) => [index, index, channel]));
  const epoch = messages[0].id.slice(0, messages[0].id.lastIndexOf('.'));
  assert.deepEqual(messages.map(({ id }) => id), [1, 2, 3, 4, 5].map((offset) => `${epoch}.${offset}`));
});

test('several channels share one stream: messages, joins, a counter, a roster', async (t) => {
  const [one, two] = [room(), room()];
  const { of } = await listen(t, `/v1/events?channel=${one}&channel=${two}&channel=counter:${one}&channel=presence:${two}`);
  assert.deepEqual((await of('counter')).map(({ data }) => [data.key, data.value, data.value_s]), [[one, 0, '0']]);
  assert.ok((await of('presence'))[0].data.snapshot);
  const bob = sdk(t, TRANSPORTS[0], node, { token: token('bob', { info: { name: 'Bob' } }) });
  bob.connect();
  const bobRoom = bob.newSubscription(two);
  bobRoom.subscribe();
  await bobRoom.ready();
  await eventually('bob joins', async () => (await of('join')).some(({ data }) => data.user === 'bob' && data.conn_info.name === 'Bob'));
  // On a busy machine several changes become one snapshot.
  const isThere = ({ data: { join, snapshot } }) => (join ?? snapshot)?.some(({ user }) => user === 'bob');
  await eventually('bob is on the roster', async () => (await of('presence', 2)).some(isThere));
  await node.publish(one, 'first');
  await node.publish(two, 'second');
  // Channels have an order each, and none between them.
  const messages = (await of('message', 2)).map(({ data }) => [data.data, data.channel]);
  assert.deepEqual(messages.sort(), [['first', one], ['second', two]]);
  await node.call('POST', `/v1/counters/${one}/add`, { by: 3 });
  await eventually('the counter counts', async () => (await of('counter', 2)).at(-1).data.value === 3);
  bobRoom.unsubscribe();
  assert.equal((await of('leave'))[0].data.user, 'bob');
});

test('a cut stream comes back by itself and brings what was missed, in every channel', async (t) => {
  const wire = await layWire(t, node);
  const [one, two] = [room(), room()];
  const { of, heard } = await listen(t, `/v1/events?channel=${one}&channel=${two}`, { base: wire });
  await node.publish(one, 'before');
  await of('message');
  wire.cut();
  await node.publish(one, 'missed one');
  await node.publish(two, 'missed two');
  wire.mend();
  await of('message', 3);
  await node.publish(one, 'after');
  const messages = await of('message', 4);
  assert.deepEqual(messages.map(({ data }) => data.data).sort(), ['after', 'before', 'missed one', 'missed two']);
  assert.equal(heard.some(({ event }) => event === 'gap'), false);
});

test('what cannot be brought is said', async (t) => {
  const wire = await layWire(t, node);
  const channel = room('short');
  const { of } = await listen(t, `/v1/events?channel=${channel}`, { base: wire });
  await node.publish(channel, 'before');
  await of('message');
  wire.cut();
  for (let index = 0; index < 5; index += 1) await node.publish(channel, index);
  wire.mend();
  assert.deepEqual((await of('gap'))[0].data, { channel });
});

test('the server says when to come back, and keeps the stream out of caches', async () => {
  const abort = new AbortController();
  const answer = await fetch(`${node.http}/v1/events?channel=a&token=${token('ann')}`, { signal: abort.signal });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
  assert.match(answer.headers.get('cache-control'), /no-store/);
  assert.equal(answer.headers.get('x-accel-buffering'), 'no');
  const { value } = await answer.body.getReader().read();
  assert.match(new TextDecoder().decode(value), /^retry: \d+\n/);
  abort.abort();
});

test('when the token has expired the stream says so, and the source that comes back is told to stay away', async (t) => {
  const { source, of, statuses } = await listen(t, `/v1/events?channel=${room()}`, { claims: { exp: inSeconds(2) } });
  await of('expired');
  await eventually('the source gives up', () => source.readyState === EventSource.CLOSED);
  assert.deepEqual(statuses, [200, 204]);
});

test('the unidirectional stream of the client protocol: bare pushes, the first of them the connect', async (t) => {
  const channel = room('open');
  const connect = JSON.stringify({ token: token('ann'), subs: { [channel]: {} } });
  const source = new EventSource(`${node.http}/connection/uni_sse?cf_connect=${encodeURIComponent(connect)}`);
  t.after(() => source.close());
  const pushes = [];
  source.onmessage = ({ data }) => pushes.push(JSON.parse(data));
  await eventually('connected', () => pushes.length);
  assert.deepEqual(Object.keys(pushes[0]), ['connect']);
  assert.deepEqual(Object.keys(pushes[0].connect.subs), [channel]);
  await node.publish(channel, { n: 1 });
  const { pub } = await eventually('the message', () => pushes.find((push) => push.channel === channel && push.pub));
  assert.deepEqual([pub.data, pub.offset], [{ n: 1 }, 1]);
});

test('callers that can set headers subscribe by PUT', async (t) => {
  const channel = room();
  const abort = new AbortController();
  t.after(() => abort.abort());
  const put = (headers) => fetch(`${node.http}/v1/channels/${channel}/subscriptions`, { method: 'PUT', headers, signal: abort.signal });
  const authorization = `Bearer ${token('ann')}`;
  assert.equal((await put({ authorization, accept: 'application/json' })).status, 406);
  const answer = await put({ authorization, accept: 'text/event-stream' });
  assert.equal(answer.status, 200);
  await node.publish(channel, 'hello');
  let text = '';
  for await (const chunk of answer.body) {
    text += new TextDecoder().decode(chunk);
    if (text.includes('hello')) break;
  }
  assert.match(text, /^id: [^\n]+\nevent: message\ndata: \{.*"data":"hello".*\}$/m);
});

test('refusals are statuses with a code in words', async () => {
  const get = async (path) => {
    const answer = await fetch(node.http + path);
    return [answer.status, (await answer.json()).error.code];
  };
  const ann = `token=${token('ann')}`;
  const table = [
    [`/v1/events?${ann}`, 400, 'bad_request'],
    ['/v1/events?channel=a', 403, 'permission_denied'], // anonymous, and only `open` admits anyone
    ['/v1/events?channel=a&token=abc', 401, 'unauthorized'],
    [`/v1/events?channel=nowhere:a&${ann}`, 404, 'unknown_channel'],
    [`/v1/events?channel=ticket:a&${ann}`, 403, 'permission_denied'],
    [`/v1/events?channel=a%20b&${ann}`, 400, 'bad_name'],
    [`/v1/channels/${'x'.repeat(256)}/events?${ann}`, 400, 'bad_name'],
  ];
  for (const [path, ...expected] of table) assert.deepEqual(await get(path), expected, path);
});
