// What members say of themselves in a channel: told as one update, to watchers and to whoever asks, and never as leave and join.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { enter, follow, roster } from './people.mjs';
import { refusal, room, sdk, TRANSPORTS } from './sdk.mjs';
import { GUARDED, layWire, startNode, token } from './server.mjs';
import { eventually, next, record } from './wait.mjs';

const AWAY = { mood: 'away', since: 1.5 };

let node;
before(async () => {
  node = await startNode(undefined, GUARDED);
});
after(() => node?.dispose());

const person = (t, user, { transport = TRANSPORTS[0], base = node } = {}) => {
  const client = sdk(t, transport, base, { token: token(user) });
  client.connect();
  return client;
};

const say = (client, channel, status) => client.call('presence.status', { channel, status });

/** The member as every gateway shows it to services. */
const pages = (channel, user) =>
  Promise.all((node.gateways ?? [node]).map(async (gateway) => {
    const { members } = await gateway.call('GET', `/v1/channels/${channel}/presence`);
    return members.find((member) => member.user === user);
  }));

for (const transport of TRANSPORTS) {
  test(`each status is one update, and can be read everywhere when it is answered: ${transport.name}`, async (t) => {
    const channel = room();
    const [ann, bob, reader] = [person(t, 'ann', { transport }), person(t, 'bob'), person(t, 'reader', { transport })];
    const bobRoom = await enter(bob, channel, { joinLeave: true });
    const [joins, leaves] = ['join', 'leave'].map((event) => record(bobRoom, event, ({ info }) => info.user));
    await enter(ann, channel);
    const { states } = await follow(reader, `presence:${channel}`);
    await eventually('both are there', () => roster(states).size === 2);
    await eventually('ann was told', () => joins.includes('ann'));
    const told = states.length;
    for (const status of [AWAY, 'back', null]) {
      assert.deepEqual(await say(ann, channel, status), {});
      for (const member of await pages(channel, 'ann')) assert.deepEqual(member.status, status ?? undefined);
    }
    await say(ann, channel, null); // nothing new
    const { snapshot } = await reader.call('presence.page', { channel });
    assert.deepEqual(snapshot.map(({ user, status }) => [user, status]), [['ann', undefined], ['bob', undefined]]);
    await enter(person(t, 'carol'), channel); // a later change, so that everything before it has been told
    await eventually('carol comes', () => roster(states).has('carol'));
    const seen = (members) => members.map(({ user, status }) => [user, status]);
    const diffs = states.slice(told).map(({ join, leave, update, count }) => [seen(join), seen(leave), seen(update), count]);
    assert.deepEqual(diffs, [
      [[], [], [['ann', AWAY]], 2],
      [[], [], [['ann', 'back']], 2],
      [[], [], [['ann', undefined]], 2],
      [[['carol', undefined]], [], [], 3],
    ]);
    await eventually('carol was told', () => joins.includes('carol'));
    assert.deepEqual([joins.filter((user) => user === 'ann'), leaves], [['ann'], []]);
  });
}

test('of several devices the longest present that has a status is shown', async (t) => {
  const channel = room();
  const [laptop, phone] = [person(t, 'ann'), person(t, 'ann')];
  await enter(laptop, channel);
  await enter(phone, channel);
  const first = (await pages(channel, 'ann'))[0].client;
  const shown = async () => {
    const found = await pages(channel, 'ann');
    for (const { client, num_clients: clients } of found) assert.deepEqual([client, clients], [first, 2]);
    assert.equal(new Set(found.map(({ status }) => status)).size, 1, 'the same at every gateway');
    return found[0].status;
  };
  await say(phone, channel, 'on the phone');
  assert.equal(await shown(), 'on the phone');
  await say(laptop, channel, 'at the desk');
  assert.equal(await shown(), 'at the desk');
  await say(phone, channel, 'still on the phone');
  assert.equal(await shown(), 'at the desk');
  await say(laptop, channel, null);
  assert.equal(await shown(), 'still on the phone');
});

test('who comes back, or subscribes again, starts without a status', async (t) => {
  const channel = room();
  const wire = await layWire(t, node);
  const ann = person(t, 'ann', { base: wire });
  const annRoom = await enter(ann, channel);
  const { states } = await follow(person(t, 'reader'), `presence:${channel}`);
  await say(ann, channel, 'away');
  await eventually('ann is away', () => roster(states).get('ann')?.status === 'away');
  const told = states.length;
  const lost = next(ann, 'connecting');
  wire.cut();
  await lost;
  const again = next(annRoom, 'subscribed');
  wire.mend();
  await again;
  await eventually('ann is back, as one device', () => {
    const member = roster(states).get('ann');
    return member.status === undefined && member.num_clients === 1;
  });
  assert.equal(states.slice(told).some(({ join, leave }) => join.length || leave.length), false);
  await say(ann, channel, 'here');
  annRoom.unsubscribe();
  await eventually('ann is out', () => !roster(states).has('ann'));
  annRoom.subscribe();
  await annRoom.ready();
  await eventually('ann is in', () => roster(states).has('ann'));
  assert.equal(roster(states).get('ann').status, undefined);
});

test('what cannot be is refused, and changes nothing', async (t) => {
  const [channel, plain] = [room(), room('plain')];
  const ann = person(t, 'ann');
  await enter(ann, channel);
  await enter(ann, plain);
  const longest = 'x'.repeat(1022);
  const table = [
    [103, { channel: room(), status: 1 }],
    [108, { channel: plain, status: 1 }],
    [108, { channel: `presence:${channel}`, status: 1 }],
    [102, { channel: 'nowhere:a', status: 1 }],
    [107, { channel: 'a b', status: 1 }],
    [107, { channel }],
    [106, { channel, status: `${longest}x` }],
  ];
  for (const [code, data] of table) assert.equal((await refusal(ann.rpc('presence.status', data))).code, code, JSON.stringify(data).slice(0, 60));
  assert.equal((await pages(channel, 'ann'))[0].status, undefined);
  await say(ann, channel, longest);
  assert.equal((await pages(channel, 'ann'))[0].status, longest);
});

test('more than ten a second are refused', async (t) => {
  const channel = room();
  const ann = person(t, 'ann');
  await enter(ann, channel);
  const said = await Promise.allSettled(Array.from({ length: 100 }, (_, status) => say(ann, channel, status)));
  const refused = said.filter(({ status }) => status === 'rejected').map(({ reason }) => reason.code);
  assert.ok(refused.length >= 1 && refused.length <= 90, `${refused.length} of 100`);
  assert.deepEqual([...new Set(refused)], [111]);
  const last = said.findLastIndex(({ status }) => status === 'fulfilled');
  assert.deepEqual((await pages(channel, 'ann')).map(({ status }) => status), (node.gateways ?? [node]).map(() => last));
});
