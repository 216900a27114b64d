// Streams as bytes on a socket, where no client library stands between: the head, what stands around it, and how they end.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { room } from './sdk.mjs';
import { API_KEY, GUARDED, slow, startNode, token } from './server.mjs';
import { eventually } from './wait.mjs';

const PAGE = 'https://app.example';
/** AT_ONCE of them a client that reads can have waiting. */
const BIG = 'x'.repeat(30_000);
const AT_ONCE = 10;
const OUTBOX_BYTES = 600_000;
/** The date of HTTP (RFC 9110, section 5.6.7). */
const DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

let node;
before(async () => {
  node = await startNode(undefined, { ...GUARDED, 'auth.origins': [PAGE], 'limits.outbox_bytes': OUTBOX_BYTES });
});
after(() => node?.dispose());

/** A bare socket to the client listener: `text` that came, `hasEnded` once the server is done. */
async function dial(t) {
  const { hostname, port } = new URL(node.http);
  const socket = net.connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  const line = { socket, text: '', hasEnded: false };
  socket.on('data', (bytes) => (line.text += bytes.toString('latin1')));
  for (const event of ['end', 'error', 'close']) socket.on(event, () => (line.hasEnded = true));
  t.after(() => socket.destroy());
  await new Promise((resolve) => socket.once('connect', resolve));
  line.until = (what) => eventually(`${what}, got ${line.text.slice(-400)}`, () => (typeof what === 'string' ? line.text.includes(what) : line.text.match(what)));
  line.end = () => eventually('the server ends the connection', () => line.hasEnded, 20_000);
  return line;
}

const get = (path, headers = {}, version = '1.1') =>
  [`GET ${path} HTTP/${version}`, 'Host: gateway.example', ...Object.entries(headers).map((header) => header.join(': ')), '', ''].join('\r\n');
const post = (path, body, headers = {}) =>
  get(path, { ...headers, 'Content-Length': Buffer.byteLength(body) }).replace('GET', 'POST') + body;
const events = (channel, claims, user = 'ann') => `/v1/channels/${encodeURIComponent(channel)}/events?token=${token(user, claims)}`;
const connect = (user) => JSON.stringify({ id: 1, connect: { token: token(user) } });

/** The first head of `text`: its status line and its headers. */
function head(text) {
  const [status, ...lines] = text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n');
  return [status, Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]))];
}

/** The events of an EventSource stream, as { id, event, data }. */
const told = (text) =>
  text
    .slice(text.indexOf('\r\n\r\n') + 4)
    .split('\n\n')
    .slice(0, -1)
    .map((event) => Object.fromEntries(event.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])));

const online = async (channel) => (await node.api('presence_stats', { channel })).result.num_clients;

const STREAMS = [
  ['events of one channel', () => get(events(room()), { Origin: PAGE }), 'text/event-stream', 'retry: 1000\n\n'],
  ['SSE', () => get(`/connection/sse?cf_connect=${encodeURIComponent(connect('ann'))}`, { Origin: PAGE }), 'text/event-stream', '\r\n'],
  ['http_stream', () => post('/connection/http_stream', connect('ann'), { Origin: PAGE }), 'application/json', '{"id":1,'],
];

describe('the head of a stream', () => {
  for (const [name, request, type, opening] of STREAMS) {
    test(`${name}: all that browsers and proxies look for, and an end that is the connection's`, async (t) => {
      const line = await dial(t);
      line.socket.write(request());
      await line.until(`\r\n\r\n${opening}`);
      const [status, { date, ...headers }] = head(line.text);
      assert.equal(status, 'HTTP/1.1 200 OK');
      assert.match(date, DATE);
      assert.ok(Math.abs(Date.parse(date) - Date.now()) < 10_000, date);
      assert.deepEqual(headers, {
        'content-type': type,
        'cache-control': 'no-cache, no-store, no-transform, must-revalidate',
        'x-accel-buffering': 'no',
        'access-control-allow-origin': PAGE,
        'access-control-allow-credentials': 'true',
        vary: 'Origin',
        connection: 'close',
      });
    });
  }

  test('HTTP/1.0 gets the same stream', async (t) => {
    const [line, channel] = [await dial(t), room()];
    line.socket.write(get(events(channel), {}, '1.0'));
    await line.until('\r\n\r\nretry: ');
    await node.publish(channel, 'hello');
    await line.until(/\nevent: message\ndata: \{.*"data":"hello".*\}\n\n$/);
  });

  test('of WebSocket: the handshake as RFC 6455 has it, and what a client said right behind it is heard', async (t) => {
    const line = await dial(t);
    const upgrade = { Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };
    const command = Buffer.from(connect('ann'));
    const frame = Buffer.concat([Buffer.from([0x81, 0x80 | 126, command.length >> 8, command.length & 0xff, 0, 0, 0, 0]), command]);
    line.socket.write(Buffer.concat([Buffer.from(get('/connection/websocket', upgrade)), frame]));
    await line.until('"connect":{');
    const [status, { date, ...headers }] = head(line.text);
    assert.equal(status, 'HTTP/1.1 101 Switching Protocols');
    assert.match(date, DATE);
    // The answer that the RFC computes for this key.
    assert.deepEqual(headers, { upgrade: 'websocket', connection: 'Upgrade', 'sec-websocket-accept': 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' });
  });
});

describe('what stands around a request for a stream', () => {
  test('answers before it, on the same connection', async (t) => {
    const [line, channel] = [await dial(t), room()];
    line.socket.write(get('/demo.css'));
    await line.until('content-length: ');
    const [, { 'content-length': length }] = head(line.text);
    await eventually('the page', () => line.text.length === line.text.indexOf('\r\n\r\n') + 4 + Number(length));
    line.text = '';
    // A refusal is an answer like others.
    line.socket.write(get('/v1/events?token=abc&channel=a'));
    await line.until('"unauthorized"');
    line.text = '';
    line.socket.write(get(events(channel)));
    await line.until('\r\n\r\nretry: ');
    await node.publish(channel, 'hello');
    await line.until('"data":"hello"');
  });

  test('an answer that was not read when it came is whole before it begins', async (t) => {
    const [line, before, channel] = [await dial(t), room('long'), room()];
    // One page of history (300) that is more than the kernel holds.
    for (let index = 0; index < 300; index += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, () => node.publish(before, BIG + BIG)));
    line.socket.pause();
    line.socket.write(get(`/v1/channels/${before}/messages`, { 'X-API-Key': API_KEY }) + get(events(channel)));
    await eventually('the answer has begun', () => line.socket.readableLength > 0);
    line.socket.resume();
    await line.until('retry: 1000\n\n');
    const [, { 'content-length': length }] = head(line.text);
    const next = line.text.indexOf('\r\n\r\n') + 4 + Number(length);
    assert.ok(length > 300 * 60_000, length);
    assert.match(line.text.slice(next), /^HTTP\/1.1 200 OK\r\ncontent-type: text\/event-stream\r\n/);
  });

  test('requests behind it have no answer', async (t) => {
    const [line, channel] = [await dial(t), room()];
    line.socket.write(get(events(channel)) + get('/demo.css'));
    await line.until('\r\n\r\nretry: ');
    line.socket.write(get('/demo.css'));
    await node.publish(channel, 'hello');
    await line.until('"data":"hello"');
    assert.equal(line.text.match(/HTTP\/1.1/g).length, 1);
  });

  test('HEAD is answered by a head, and begins nothing', async (t) => {
    const [line, channel] = [await dial(t), room()];
    line.socket.write(get(events(channel)).replace('GET', 'HEAD'));
    await line.until('\r\n\r\n');
    const [status, headers] = head(line.text);
    assert.deepEqual([status, headers['content-type'], headers['content-length']], ['HTTP/1.1 200 OK', 'text/event-stream', undefined]);
    await eventually('its client is out of the channel', async () => (await online(channel)) === 0);
    line.socket.write(get(`/v1/channels/${channel}/events?token=abc`));
    await line.until('HTTP/1.1 401');
    assert.equal(line.text.includes('retry'), false);
  });
});

describe('ids', () => {
  test('of several channels say all places, in the order of the request', async (t) => {
    const [one, two, line] = [room(), room(), await dial(t)];
    line.socket.write(get(`/v1/events?channel=${two}&channel=${one}&token=${token('ann')}`));
    await line.until('\r\n\r\nretry: ');
    // One at a time: channels have an order each, and none between them.
    for (const [channel, data] of [[one, 1], [two, 2], [one, 3]]) {
      await node.publish(channel, data);
      await line.until(`"data":${data}`);
    }
    const said = () => told(line.text).filter(({ event }) => event === 'message');
    await eventually('all three are whole', () => said().length === 3);
    const messages = said();
    const places = messages.map(({ id }) => id.split(',').map((place) => Number(place.slice(place.indexOf('.') + 1))));
    assert.deepEqual(places, [[0, 1], [1, 1], [1, 2]]);
    assert.equal(new Set(messages.flatMap(({ id }) => id.split(',').map((place) => place.slice(0, place.indexOf('.'))))).size, 2, 'one epoch for each');
  });

  test('of one channel say its place only, whatever else the token grants', async (t) => {
    const [own, granted, line] = [room(), room(), await dial(t)];
    line.socket.write(get(events(own, { channels: [granted] })));
    await line.until('\r\n\r\nretry: ');
    for (const [channel, data] of [[own, 1], [granted, 2], [own, 3]]) await node.publish(channel, data);
    // Channels have an order each, and none between them.
    const said = () => told(line.text).filter(({ event }) => event === 'message');
    await eventually('all three have come', () => said().length === 3);
    const places = said().map(({ id, data }) => [JSON.parse(data).data, id?.slice(id.indexOf('.'))]);
    assert.deepEqual(places.sort(), [[1, '.1'], [2, undefined], [3, '.2']]);
  });
});

describe('the end', () => {
  for (const [how, leave] of [['closes', (socket) => socket.destroy()], ['says that it is done', (socket) => socket.end()]]) {
    test(`a client that ${how} is gone for the others too`, async (t) => {
      for (const channels of [[room()], [room(), room()]]) {
        const line = await dial(t);
        line.socket.write(get(`/v1/events?${channels.map((channel) => `channel=${channel}`).join('&')}&token=${token('ann')}`));
        await eventually('it is there', async () => (await online(channels[0])) === 1);
        await line.until('\r\n\r\nretry: ');
        leave(line.socket);
        await eventually('it is gone', async () => (await online(channels[0])) === 0);
      }
    });
  }

  const SLOW = [
    ['events of one channel', (channel) => get(events(channel)), '\n\n', 'event: disconnect\ndata: {"code":3008,"reason":"slow","reconnect":true}\n\n'],
    ['events of several channels', (channel) => get(`/v1/events?channel=${channel}&channel=${room()}&token=${token('ann')}`), '\n\n', 'event: disconnect\ndata: {"code":3008,"reason":"slow","reconnect":true}\n\n'],
    ['http_stream', (channel) => post('/connection/http_stream', `${connect('ann')}\n${JSON.stringify({ id: 2, subscribe: { channel } })}`), '\n', '{"push":{"disconnect":{"code":3008,"reason":"slow","reconnect":true}}}\n'],
  ];
  for (const [name, request, end, farewell] of SLOW) {
    test(`${name}: who does not read is sent away with 3008, behind whole messages`, async (t) => {
      const [line, channel] = [await dial(t), room()];
      line.socket.write(request(channel));
      await eventually('it is there', async () => (await online(channel)) === 1);
      await line.until(name === 'http_stream' ? '"id":2' : '\r\n\r\nretry: ');
      line.socket.pause();
      // Until kernel buffers are full as well; its last words wait for it for some seconds only, so they are read at once.
      const before = await slow(node);
      let published = 0;
      const ended = async () => {
        await Promise.all(Array.from({ length: AT_ONCE }, () => node.publish(channel, BIG)));
        published += AT_ONCE;
        return (await slow(node)) > before;
      };
      await eventually('it is found slow', ended, 60_000);
      line.socket.resume();
      await line.end();
      assert.equal(line.text.slice(-farewell.length), farewell);
      const messages = line.text.split(end).filter((message) => message.includes('xxx'));
      assert.ok(messages.length > 0 && messages.length < published, `${messages.length} of ${published} messages`);
      assert.deepEqual(messages.filter((message) => !message.includes(`"data":"${BIG}"`)).map((message) => message.length), [], 'all are whole');
    });
  }
});
