// Invisible connections: in no output of presence, while everything reaches them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { enter, follow, roster } from './people.mjs';
import { refusal, room, sdk, TRANSPORTS } from './sdk.mjs';
import { GUARDED, inSeconds, startNode, token } from './server.mjs';
import { eventually, next, record } from './wait.mjs';

let node;
before(async () => {
  node = await startNode(undefined, GUARDED);
});
after(() => node?.dispose());

const INVISIBLE = { visibility: 'invisible' };

const person = (t, user, { transport = TRANSPORTS[0], ...claims } = {}) => {
  const client = sdk(t, transport, node, { token: token(user, claims) });
  client.connect();
  return client;
};

const turn = (client, visibility) => client.call('presence.visibility', { visibility });
const gateways = () => node.gateways ?? [node];
const names = (members) => members.map(({ user }) => user).sort();

/** Whom each way to ask says to be in the channel, how many there are, and which of `users` are online; asked at every gateway. */
async function outputs(reader, channel, users, me) {
  const { clients } = await reader.presence(channel);
  const stats = await reader.presenceStats(channel);
  const page = await reader.call('presence.page', { channel });
  const online = await reader.call('presence.online', { users });
  const here = [names(Object.values(clients)), names(page.snapshot)];
  const counts = [[stats.numClients, stats.numUsers]];
  const there = [names(online.users.filter((user) => user.online))];
  for (const gateway of gateways()) {
    const read = await gateway.call('GET', `/v1/channels/${channel}/presence`);
    const { num_clients: clientCount, num_users: userCount } = await gateway.call('GET', `/v1/channels/${channel}/presence/stats`);
    const { result } = await gateway.api('presence', { channel });
    const { result: numbers } = await gateway.api('presence_stats', { channel });
    here.push(names(read.members), names(Object.values(result.presence)));
    counts.push([read.num_clients, read.num_users], [clientCount, userCount], [numbers.num_clients, numbers.num_users]);
    const each = await Promise.all(users.map((user) => gateway.call('GET', `/v1/users/${user}/presence`)));
    const queried = await gateway.call('POST', '/v1/presence/query', { users });
    there.push(names(each.filter((user) => user.online)), names(queried.users.filter((user) => user.online)));
    there.push(names((await gateway.call('GET', `/v1/users/${me}/contacts/online`)).users));
  }
  const one = (found) => (assert.equal(new Set(found.map((answer) => JSON.stringify(answer))).size, 1, JSON.stringify(found)), found[0]);
  return { here: one(here), counts: one(counts), online: one(there) };
}

/** A reader who watches a channel in every way, with `contacts`; `heard` is all that it is told. */
async function watch(t, channel, contacts) {
  const me = `reader-${channel}`;
  const keep = () => node.call('PUT', `/v1/users/${me}/contacts`, { contacts }).catch(({ status }) => assert.equal(status, 503));
  await eventually('the contacts are kept', keep); // a region that has just begun may not be connected to all its nodes
  const reader = person(t, me);
  const inside = await enter(reader, channel, { joinLeave: true });
  const events = ['join', 'leave'].map((event) => record(inside, event, ({ info }) => info.user));
  const messages = record(inside, 'publication', ({ data, info }) => [data, info?.user]);
  const { states } = await follow(reader, `presence:${channel}`);
  const { states: friends } = await follow(reader, `contacts:${me}`);
  return { me, reader, joins: events[0], leaves: events[1], messages, states, friends };
}

/** Somebody comes, and everything that happened before is told. */
async function comeLast(t, channel, { states, friends, joins }, last) {
  await enter(person(t, last), channel);
  await eventually(`${last} is told`, () => roster(states).has(last) && joins.includes(last) && JSON.stringify(friends).includes(`"${last}"`));
}

test('who is invisible from the beginning is in no output, and everything reaches it', async (t) => {
  const channel = room();
  const [ghost, last] = [`ghost-${channel}`, `last-${channel}`];
  const watcher = await watch(t, channel, [ghost, last]);
  const { reader, me } = watcher;
  const unseen = person(t, ghost, INVISIBLE);
  const ghostRoom = await enter(unseen, channel, { joinLeave: true });
  const [heard, joins] = [record(ghostRoom, 'publication', ({ data }) => data), record(ghostRoom, 'join', ({ info }) => info.user)];
  assert.deepEqual(await outputs(reader, channel, [ghost], me), { here: [me], counts: [1, 1], online: [] });
  assert.equal((await refusal(unseen.rpc('presence.status', { channel, status: 1 }))).code, 103);
  await node.publish(channel, 'for all');
  await ghostRoom.publish('boo');
  assert.deepEqual(await heard.take(2), ['for all', 'boo']);
  assert.deepEqual(await watcher.messages.take(2), [['for all', undefined], ['boo', ghost]], 'who acts is named');
  await comeLast(t, channel, watcher, last);
  await eventually('the ghost is told who comes', () => joins.includes(last));
  assert.equal(Object.values((await ghostRoom.presence()).clients).length, 2, 'and sees who is there');
  unseen.disconnect();
  const goodbye = person(t, `${last}-2`);
  await enter(goodbye, channel);
  await eventually('all is told', () => roster(watcher.states).has(`${last}-2`));
  const { joins: joined, leaves, states, friends } = watcher;
  assert.equal(JSON.stringify([joined, leaves, states, friends]).includes(ghost), false);
  assert.deepEqual(await node.call('GET', `/v1/users/${ghost}/presence`), { user: ghost, online: false, clients: 0 }, 'never seen');
});

for (const transport of TRANSPORTS) {
  test(`who becomes invisible leaves everywhere at once, and comes back everywhere: ${transport.name}`, async (t) => {
    const channel = room();
    const [ann, last] = [`ann-${channel}`, `last-${channel}`];
    const watcher = await watch(t, channel, [ann, last]);
    const { me, reader, states, friends, joins, leaves } = watcher;
    const client = person(t, ann, { transport });
    const annRoom = await enter(client, channel);
    const other = await enter(client, room());
    await client.call('presence.status', { channel, status: 'here' });
    const look = () => outputs(reader, channel, [ann], me);
    const seen = { here: [ann, me].sort(), counts: [2, 2], online: [ann] };
    assert.deepEqual(await look(), seen);
    const version = (await reader.call('presence.page', { channel })).version;

    const before = Date.now();
    assert.deepEqual(await turn(client, 'invisible'), {});
    assert.deepEqual(await look(), { here: [me], counts: [1, 1], online: [] });
    assert.equal((await reader.presenceStats(other.channel)).numClients, 0);
    const since = await reader.call('presence.since', { channel, version });
    assert.deepEqual([since.join, since.update, names(since.leave), since.count], [[], [], [ann], 1]);
    const { last_seen_ms: seenMs } = await node.call('GET', `/v1/users/${ann}/presence`);
    assert.ok(seenMs >= before - 1_000 && seenMs <= Date.now() + 1_000, 'as if it had ended then');
    await eventually('the contact is told', () => friends.some(({ leave }) => leave?.some(({ user }) => user === ann)));
    await turn(client, 'invisible'); // nothing new
    await annRoom.publish(client.pack('unseen'));
    assert.deepEqual(await watcher.messages.take(1).then(([[, user]]) => user), ann);

    assert.deepEqual(await turn(client, 'public'), {});
    assert.deepEqual(await look(), seen);
    assert.equal((await reader.presenceStats(other.channel)).numClients, 1);
    await comeLast(t, channel, watcher, last);
    const about = (list) => list.filter((user) => user === ann).length;
    assert.deepEqual([about(joins), about(leaves)], [2, 1]);
    const diffs = states.flatMap(({ join = [], leave = [], update = [] }) => [...names(join).map((user) => `+${user}`), ...names(leave).map((user) => `-${user}`), ...update.map(({ user, status }) => `${user}: ${status}`)]);
    assert.deepEqual(diffs.filter((said) => said.includes(ann)), [`+${ann}`, `${ann}: here`, `-${ann}`, `+${ann}`]);
    assert.equal(roster(states).get(ann).status, undefined, 'the status is to be said again');
  });
}

test('a user is seen as long as another connection is', async (t) => {
  const channel = room();
  const ann = `ann-${channel}`;
  const watcher = await watch(t, channel, [ann]);
  const { me, reader, leaves } = watcher;
  const [laptop, phone] = [person(t, ann), person(t, ann)];
  await enter(laptop, channel);
  await enter(phone, channel);
  const look = () => outputs(reader, channel, [ann], me);
  const clients = async () => (await node.call('GET', `/v1/users/${ann}/presence`)).clients;
  const twice = { here: [ann, ann, me].sort(), counts: [3, 2], online: [ann] };
  await eventually('both are in', async () => (await reader.presenceStats(channel)).numClients === 3);
  assert.equal(await clients(), 2);
  await turn(laptop, 'invisible');
  assert.deepEqual(await look(), { ...twice, here: [ann, me].sort(), counts: [2, 2] });
  assert.deepEqual([await clients(), leaves], [1, []]);
  await turn(phone, 'invisible');
  assert.deepEqual(await look(), { here: [me], counts: [1, 1], online: [] });
  await turn(laptop, 'public');
  phone.disconnect();
  assert.deepEqual(await look(), { here: [ann, me].sort(), counts: [2, 2], online: [ann] });
});

test('the totals leave out who is invisible', async (t) => {
  const own = await startNode(t, GUARDED);
  const totals = async () => {
    const found = await Promise.all((own.gateways ?? [own]).map((gateway) => gateway.call('GET', '/v1/presence/stats')));
    return found.map(({ num_clients: clients, num_users: users, regions }) => [clients, users, regions.local?.num_clients ?? clients]);
  };
  const all = (...numbers) => (own.gateways ?? [own]).map(() => numbers);
  const [ann, ghost] = [undefined, INVISIBLE].map((claims) => sdk(t, TRANSPORTS[0], own, { token: token('ann', claims) }));
  for (const client of [ann, ghost]) {
    client.connect();
    await next(client, 'connected');
  }
  await eventually('one is seen', async () => JSON.stringify(await totals()) === JSON.stringify(all(1, 1, 1)));
  await turn(ghost, 'public');
  assert.deepEqual(await totals(), all(2, 1, 2));
  await turn(ghost, 'invisible');
  await turn(ann, 'invisible');
  assert.deepEqual(await totals(), all(0, 0, 0));
});

test('a refreshed token may change it', async (t) => {
  const channel = room();
  const reader = person(t, 'reader');
  const said = [{ exp: 2 }, { exp: 2, ...INVISIBLE }, { exp: 3600 }];
  const seen = [];
  const client = sdk(t, TRANSPORTS[0], node, {
    getToken: async () => {
      if (seen.length) seen.push((await reader.presenceStats(channel)).numClients);
      else seen.push('connecting');
      const { exp, ...claims } = said.shift();
      return token('ann', { exp: inSeconds(exp), ...claims });
    },
  });
  client.on('connecting', ({ code, reason }) => code && assert.fail(`reconnected: ${code} ${reason}`));
  client.connect();
  await enter(client, channel);
  await eventually('the last token came', () => seen.length === 3);
  await eventually('ann is seen again', async () => (await reader.presenceStats(channel)).numClients === 1);
  assert.deepEqual(seen, ['connecting', 1, 0]);
});

test('an event source with such a token hears everything and is not seen', async (t) => {
  const channel = room();
  const address = new URL(`/v1/channels/${channel}/events`, node.http);
  address.searchParams.set('token', token('ghost', INVISIBLE));
  const source = new EventSource(address);
  t.after(() => source.close());
  const messages = record(source, 'message', ({ data }) => JSON.parse(data).data);
  await eventually('the stream is open', () => source.readyState === EventSource.OPEN);
  await node.publish(channel, 'hello');
  assert.deepEqual(await messages.take(1), ['hello']);
  for (const gateway of gateways()) assert.equal((await gateway.call('GET', `/v1/channels/${channel}/presence/stats`)).num_clients, 0);
});

test('a token that says anything else is refused', async (t) => {
  for (const visibility of ['contacts', 'Invisible', true, {}]) {
    assert.deepEqual(await next(person(t, 'ann', { visibility }), 'disconnected'), { code: 3500, reason: 'invalid token' }, String(visibility));
  }
  await next(person(t, 'ann', { visibility: 'public' }), 'connected');
});

test('in development mode anybody may', async (t) => {
  const own = await startNode(t);
  const client = sdk(t, TRANSPORTS[0], own);
  client.connect();
  const inside = await enter(client, 'room');
  assert.equal((await inside.presenceStats()).numClients, 1);
  await turn(client, 'invisible');
  assert.deepEqual(await inside.presenceStats(), { numClients: 0, numUsers: 0 });
  assert.equal((await refusal(client.rpc('presence.visibility', { visibility: 'hidden' }))).code, 107);
  await turn(client, 'public');
  assert.deepEqual(await inside.presenceStats(), { numClients: 1, numUsers: 1 });
});
