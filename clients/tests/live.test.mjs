// The live channels: a counter's value, the greatest counters, a roster, a user's contacts: a snapshot at first, then every change.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { enter, follow, roster } from './people.mjs';
import { refusal, room, sdk, TRANSPORTS } from './sdk.mjs';
import { GUARDED, layWire, startNode, token } from './server.mjs';
import { eventually, next, record } from './wait.mjs';

let node;
before(async () => {
  node = await startNode(undefined, GUARDED);
});
after(() => node?.dispose());

const person = (t, user, { transport = TRANSPORTS[0], base = node, name = user } = {}) => {
  const client = sdk(t, transport, base, { token: token(user, { info: { name } }) });
  client.connect();
  return client;
};

for (const transport of TRANSPORTS) {
  describe(transport.name, () => {
    test('a counter: its value, then its changes, wherever they come from', async (t) => {
      const ann = person(t, 'ann', { transport });
      const key = room();
      const { states } = await follow(ann, `counter:${key}`);
      const { as_of: asOf, lag_ms: _, ...first } = states[0];
      assert.deepEqual(first, { key, value: 0, value_s: '0', complete: true });
      assert.deepEqual(Object.keys(asOf), ['local']);
      await ann.call('counter.add', { key, by: 40 });
      await node.call('POST', `/v1/counters/${key}/add`, { by: 2 });
      await eventually('42 is told', () => states.at(-1).value === 42);
      const late = await follow(person(t, 'bob', { transport }), `counter:${key}`);
      assert.equal(late.states[0].value_s, '42');
    });

    test('a roster: who is there, then who comes, changes and goes', async (t) => {
      const channel = room();
      const reader = person(t, 'reader', { transport });
      const early = person(t, 'ann');
      await enter(early, channel);
      const { states } = await follow(reader, `presence:${channel}`);
      await eventually('ann is there', () => roster(states).has('ann'));
      const bob = person(t, 'bob');
      await enter(bob, channel);
      await eventually('bob comes', () => states.some(({ join }) => join?.some(({ user, num_clients: clients }) => user === 'bob' && clients === 1)));
      const phone = person(t, 'bob');
      await enter(phone, channel);
      await eventually('bob has two devices', () => roster(states).get('bob')?.num_clients === 2);
      phone.disconnect();
      await eventually('bob has one', () => roster(states).get('bob')?.num_clients === 1);
      assert.equal(states.some(({ leave }) => leave?.length), false, 'nobody has left yet');
      bob.disconnect();
      await eventually('bob goes', () => !roster(states).has('bob'));
      assert.equal(states.at(-1).count, 1);
    });
  });
}

test('a counter that changes fast is told at most ten times a second, and its last value always', async (t) => {
  const key = room();
  const { states } = await follow(person(t, 'ann'), `counter:${key}`);
  const start = Date.now();
  for (let index = 0; index < 400; index += 1) await node.call('POST', `/v1/counters/${key}/add`, { by: 1 });
  await eventually('the last value is told', () => states.at(-1).value === 400);
  assert.ok(states.length <= 3 + (Date.now() - start) / 100, `${states.length} states in ${Date.now() - start} ms`);
});

test('the greatest counters: the list as HTTP tells it, then whenever it has changed, and at most twice a second', async (t) => {
  const [first, second] = [room('liked'), room('liked')];
  const vote = (key, count) => Promise.all(Array.from({ length: count }, (_, index) => node.call('PUT', `/v1/counters/${key}/voters/user-${index}`)));
  await vote(first, 1);
  const ann = person(t, 'ann');
  const { states } = await follow(ann, 'top:liked');
  const list = () => states.at(-1).counters.map(({ key, value_s: value }) => `${key} ${value}`);
  await eventually('the first one', () => String(list()) === `${first} 1`);
  assert.equal(states[0].namespace, 'liked');
  await ann.call('counter.vote', { key: second });
  await vote(second, 2);
  await eventually('the second one has overtaken it', () => String(list()) === `${second} 3,${first} 1`);
  assert.deepEqual(states.at(-1), await node.call('GET', '/v1/top?namespace=liked'));
  const late = await follow(person(t, 'bob'), 'top:liked');
  assert.deepEqual(late.states[0], states.at(-1));
  const [told, start] = [states.length, Date.now()];
  for (let voter = 0; voter < 100; voter += 1) await node.call('PUT', `/v1/counters/${first}/voters/late-${voter}`);
  await eventually('it has come back', () => String(list()) === `${first} 101,${second} 3`);
  assert.ok(states.length - told <= 2 + (Date.now() - start) / 500, `${states.length - told} lists in ${Date.now() - start} ms`);
  const known = states.length;
  await node.call('PUT', `/v1/counters/${first}/voters/late-1`);
  await node.call('POST', `/v1/counters/${room()}/add`, { by: 1 });
  await new Promise((resolve) => setTimeout(resolve, 1_500)); // three lists could have been told
  assert.equal(states.length, known, 'nothing has changed');
});

test('the greatest counters are told to those who may read them, and of namespaces that there are', async (t) => {
  const ann = person(t, 'ann');
  const code = async (channel) => {
    const subscription = ann.newSubscription(channel);
    const ended = next(subscription, 'unsubscribed');
    subscription.subscribe();
    return (await ended).code;
  };
  assert.equal(await code('top:hidden'), 103);
  assert.equal(await code('top:nowhere'), 102);
  assert.equal((await refusal(ann.publish('top:liked', ann.pack({})))).code, 108);
  await follow(ann, 'top:');
});

test('beyond 2^53 the string is exact', async (t) => {
  const key = room();
  await node.call('POST', `/v1/counters/${key}/add`, { by: 9007199254740993n.toString() }).catch(() => {});
  const ann = person(t, 'ann');
  for (let index = 0; index < 2; index += 1) await ann.call('counter.add', { key, by: 2 ** 52 });
  await ann.call('counter.add', { key, by: 1 });
  const { states } = await follow(ann, `counter:${key}`);
  assert.equal(states[0].value_s, '9007199254740993');
});

test('a client that drops and returns within its grace was never gone', async (t) => {
  const channel = room();
  const wire = await layWire(t, node);
  const reader = person(t, 'reader');
  const { states } = await follow(reader, `presence:${channel}`);
  const watched = await enter(reader, channel);
  const leaves = record(watched, 'leave');
  const ann = person(t, 'ann', { base: wire });
  await enter(ann, channel);
  await eventually('ann is there', () => roster(states).has('ann'));
  const lost = next(ann, 'connecting');
  wire.cut();
  await lost;
  const back = next(ann, 'connected');
  wire.mend();
  await back;
  await eventually('the new client is on the roster', async () => Object.keys((await watched.presence()).clients).length >= 2);
  const bob = person(t, 'bob');
  await enter(bob, channel); // a later change, so that everything before it has been told
  await eventually('bob is there', () => roster(states).has('bob'));
  assert.equal(states.some(({ leave }) => leave?.some(({ user }) => user === 'ann')), false);
  assert.equal(states.filter(({ join }) => join?.some(({ user }) => user === 'ann')).length, 1);
  assert.deepEqual(leaves, []);
});

test('a client that stays away longer than its grace leaves', async (t) => {
  const channel = room();
  const wire = await layWire(t, node);
  const { states } = await follow(person(t, 'reader'), `presence:${channel}`);
  await enter(person(t, 'ann', { base: wire }), channel);
  await eventually('ann is there', () => roster(states).has('ann'));
  const start = Date.now();
  wire.cut();
  await eventually('ann leaves', () => !roster(states).has('ann'));
  assert.ok(Date.now() - start >= 900, 'not before the grace of one second is over');
});

test('a version is enough to catch up', async (t) => {
  const channel = room();
  const reader = person(t, 'reader');
  await enter(person(t, 'ann'), channel);
  const { states } = await follow(reader, `presence:${channel}`);
  await eventually('ann is there', () => roster(states).has('ann'));
  const { version } = states.at(-1);
  await enter(person(t, 'bob'), channel);
  await eventually('bob is there', () => roster(states).has('bob'));
  const since = await reader.call('presence.since', { channel, version });
  assert.deepEqual(since.join.map(({ user }) => user), ['bob']);
  assert.equal(since.version, states.at(-1).version);
});

test('contacts: who of them is online, then who comes and goes', async (t) => {
  const [me, friend] = [`ann-${room()}`, `bob-${room()}`];
  await node.call('PUT', `/v1/users/${me}/contacts`, { contacts: [friend, 'nobody'] });
  const { states } = await follow(person(t, me), `contacts:${me}`);
  assert.equal(JSON.stringify(states[0]).includes(friend), false);
  const bob = person(t, friend);
  await next(bob, 'connected');
  await eventually('bob is online', () => JSON.stringify(states.at(-1)).includes(friend));
  const told = states.length;
  bob.disconnect();
  await eventually('bob is offline', () => states.length > told);
});
