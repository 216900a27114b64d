// The published JavaScript SDK against the real node, the same tests over every transport.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FALLBACK, TRANSPORTS, refusal, room, sdk } from './sdk.mjs';
import { GUARDED, layWire, startNode, token } from './server.mjs';
import { eventually, next, record } from './wait.mjs';

const PAGE_MAX = 300;

let node;
before(async () => {
  node = await startNode(undefined, { ...GUARDED, 'limits.channels_per_client': 12 });
});
after(() => node?.dispose());

for (const transport of TRANSPORTS) {
  describe(transport.name, () => {
    const person = (t, user, { base = node, claims, ...options } = {}) => {
      const client = sdk(t, transport, base, { token: token(user, { info: { name: user }, ...claims }), ...options });
      client.connect();
      return client;
    };
    const join = async (client, channel, options) => {
      const subscription = client.newSubscription(channel, options);
      subscription.messages = record(subscription, 'publication', (publication) => client.unpack(publication.data));
      subscription.say = (value) => subscription.publish(client.pack(value));
      subscription.subscribe();
      await subscription.ready(8000);
      return subscription;
    };
    const cutAndMend = async (wire, client, meanwhile) => {
      const lost = next(client, 'connecting');
      wire.cut();
      await lost;
      const context = await meanwhile();
      const back = next(client, 'connected');
      wire.mend();
      await back;
      return context;
    };

    test('connects with a token and tells its client id and transport', async (t) => {
      const client = person(t, 'ann');
      const connected = await next(client, 'connected');
      assert.match(connected.client, /^[\x21-\x7e]{8,}$/);
      assert.equal(connected.transport, transport.kind);
    });

    test('what one publishes, all receive in order, with who sent it', async (t) => {
      const [ann, bob] = [person(t, 'ann'), person(t, 'bob')];
      const channel = room();
      const [annRoom, bobRoom] = await Promise.all([join(ann, channel), join(bob, channel)]);
      const senders = record(bobRoom, 'publication', ({ info, offset }) => [info.user, ann.unpack(info.connInfo).name, offset]);
      const sent = Array.from({ length: 20 }, (_, index) => ({ index, text: 'héllo\n"\u2028' }));
      for (const value of sent) await annRoom.say(value);
      assert.deepEqual(await annRoom.messages.take(20), sent);
      assert.deepEqual(await bobRoom.messages.take(20), sent);
      assert.deepEqual(senders, sent.map(({ index }) => ['ann', 'ann', index + 1]));
    });

    test('an unsubscribed client hears nothing more, and may subscribe again', async (t) => {
      // Two who stay, so that in a region one of them is at Bob's gateway: what she has heard, that gateway has handed out.
      const people = ['ann', 'bob', 'cat', 'dan'].map((user) => person(t, user));
      const channel = room('fleeting');
      const [annRoom, bobRoom, ...others] = await Promise.all(people.map((client) => join(client, channel)));
      const present = async (count) => (await annRoom.presenceStats()).numClients === count;
      await eventually('all are in', () => present(4));
      bobRoom.unsubscribe();
      await eventually('bob is out', () => present(3));
      await annRoom.say('unheard');
      for (const { messages } of others) assert.deepEqual(await messages.take(1), ['unheard']);
      bobRoom.subscribe();
      await bobRoom.ready();
      await annRoom.say('heard');
      assert.deepEqual(await bobRoom.messages.take(1), ['heard']);
    });

    test('join and leave events carry the member', async (t) => {
      const [ann, bob] = [person(t, 'ann'), person(t, 'bob')];
      const channel = room();
      const annRoom = await join(ann, channel, { joinLeave: true });
      const about = ({ info }) => [info.user, info.client, ann.unpack(info.connInfo)];
      const others = (context) => context.info.user !== 'ann';
      const [joins, leaves] = ['join', 'leave'].map((event) => record(annRoom, event));
      const bobRoom = await join(bob, channel);
      const { client: bobsId } = await ann.presence(channel).then(({ clients }) => Object.values(clients).find(({ user }) => user === 'bob'));
      await eventually('bob joins', () => joins.some(others));
      bobRoom.unsubscribe();
      await eventually('bob leaves', () => leaves.some(others));
      assert.deepEqual(joins.filter(others).map(about), [['bob', bobsId, { name: 'bob' }]]);
      assert.deepEqual(leaves.filter(others).map(about), [['bob', bobsId, { name: 'bob' }]]);
    });

    test('presence lists clients, its stats count clients and users, and an empty channel is zeros', async (t) => {
      const people = [person(t, 'ann'), person(t, 'ann'), person(t, 'bob')];
      const channel = room();
      const [annRoom] = await Promise.all(people.map((client) => join(client, channel)));
      await eventually('all are in', async () => (await annRoom.presenceStats()).numClients === 3);
      assert.deepEqual(await annRoom.presenceStats(), { numClients: 3, numUsers: 2 });
      const { clients } = await annRoom.presence();
      const seen = Object.entries(clients).map(([id, info]) => [id === info.client, info.user, people[0].unpack(info.connInfo).name]);
      assert.deepEqual(seen.sort(), [[true, 'ann', 'ann'], [true, 'ann', 'ann'], [true, 'bob', 'bob']]);
      const empty = room();
      assert.deepEqual(await people[0].presence(empty), { clients: {} });
      assert.deepEqual(await people[0].presenceStats(empty), { numClients: 0, numUsers: 0 });
    });

    test('history pages by limit, since and reverse, and is capped', async (t) => {
      const ann = person(t, 'ann');
      const channel = room('long');
      const empty = await ann.history(channel, { limit: 10 });
      assert.deepEqual([empty.publications, empty.offset], [[], 0]);
      for (let index = 1; index <= 305; index += 1) await node.publish(channel, index);
      const page = async (options) => {
        const { publications, ...top } = await ann.history(channel, options);
        assert.equal(top.offset, 305);
        return { epoch: top.epoch, offsets: publications.map(({ offset, data }) => (assert.equal(ann.unpack(data), offset), offset)) };
      };
      const { epoch, offsets } = await page({ limit: 0 });
      assert.deepEqual(offsets, [], 'limit 0 asks for the position only');
      const from = (first, count) => Array.from({ length: count }, (_, index) => first + index);
      assert.deepEqual((await page({ limit: 3 })).offsets, [1, 2, 3]);
      assert.deepEqual((await page({ limit: 3, since: { offset: 20, epoch } })).offsets, [21, 22, 23], 'since is exclusive');
      assert.deepEqual((await page({ limit: 3, reverse: true })).offsets, [305, 304, 303]);
      assert.deepEqual((await page({ limit: 3, since: { offset: 10, epoch }, reverse: true })).offsets, [9, 8, 7]);
      assert.deepEqual((await page({ limit: -1 })).offsets, from(1, PAGE_MAX), 'one page at most');
    });

    test('what was missed while the wire was cut is recovered in order, once', async (t) => {
      const wire = await layWire(t, node);
      const ann = person(t, 'ann', { base: wire });
      const annRoom = await join(ann, room(), { recoverable: true });
      await annRoom.say('before');
      const resubscribed = next(annRoom, 'subscribing').then(() => next(annRoom, 'subscribed'));
      await cutAndMend(wire, ann, async () => {
        for (let index = 0; index < 10; index += 1) await node.publish(annRoom.channel, index);
      });
      const { wasRecovering, recovered } = await resubscribed;
      assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: true });
      await annRoom.say('after');
      assert.deepEqual(await annRoom.messages.take(12), ['before', ...Array(10).keys(), 'after']);
      assert.equal(annRoom.messages.length, 12);
    });

    const LOSSES = [
      ['the gap is longer than the history', 'short', 3],
      ['the gap is longer than one page', 'long', PAGE_MAX + 1],
    ];
    for (const [why, namespace, missed] of LOSSES) {
      test(`recovery is refused honestly when ${why}`, async (t) => {
        const wire = await layWire(t, node);
        const ann = person(t, 'ann', { base: wire });
        const annRoom = await join(ann, room(namespace), { recoverable: true });
        await annRoom.say('before');
        await annRoom.messages.take(1); // the reply may be here first
        const resubscribed = next(annRoom, 'subscribing').then(() => next(annRoom, 'subscribed'));
        await cutAndMend(wire, ann, async () => {
          for (let index = 0; index < missed; index += 1) await node.publish(annRoom.channel, index);
        });
        const { wasRecovering, recovered } = await resubscribed;
        assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
        await annRoom.say('after');
        assert.deepEqual(await annRoom.messages.take(2), ['before', 'after']);
      });
    }

    test('RPC adds to a counter once for each token, reads it, and pages rosters', async (t) => {
      const ann = person(t, 'ann');
      const key = room();
      const add = { key, by: 3, token: '0190163d-8694-739b-aea5-966c26f8ad90' };
      const fresh = `${Date.now().toString(16).padStart(12, '0').replace(/(.{8})/, '$1-')}-7000-8000-0123456789ab`;
      assert.equal((await ann.call('counter.add', { key, by: 2 })).value_s, '2');
      assert.equal((await ann.call('counter.add', { ...add, token: fresh })).value_s, '5');
      assert.equal((await ann.call('counter.add', { ...add, token: fresh })).value_s, '5', 'again with the same token');
      assert.equal((await refusal(ann.call('counter.add', add))).code, 110, 'a token of 2024 is too old to be remembered');
      const { counters } = await ann.call('counter.get', { keys: [key, `${key}-unknown`] });
      const read = counters.map(({ key: name, value, value_s: text, complete }) => [name, value, text, complete]);
      assert.deepEqual(read, [[key, 5, '5', true], [`${key}-unknown`, 0, '0', true]]);
      await join(ann, key);
      const roster = await eventually('ann is on the roster', async () => {
        const page = await ann.call('presence.page', { channel: key, limit: 10 });
        return page.snapshot.length && page;
      });
      assert.deepEqual(roster.snapshot.map(({ user, num_clients: count, conn_info: info }) => [user, count, info]), [['ann', 1, { name: 'ann' }]]);
      const { users } = await ann.call('presence.online', { users: ['ann', 'nobody'] });
      assert.deepEqual(users.map(({ online }) => online), [true, false], 'in the order of the question');
    });

    test('a user likes a thing once, over however many connections, and takes it back', async (t) => {
      const key = room('liked');
      const [ann, again, bob] = [person(t, 'ann'), person(t, 'ann'), person(t, 'bob')];
      const press = async (who, on) => {
        const { value, duplicate } = await who.call('counter.vote', { key, on });
        return [value, duplicate];
      };
      assert.deepEqual(await press(ann, true), [1, false]);
      assert.deepEqual(await press(ann), [1, true], 'on is what is meant');
      assert.deepEqual(await press(again, true), [1, true]);
      assert.deepEqual(await press(bob, true), [2, false]);
      assert.deepEqual((await again.call('counter.voted', { keys: [room('liked'), key] })).keys, [key]);
      assert.deepEqual(await press(again, false), [1, false]);
      assert.deepEqual((await ann.call('counter.voted', { keys: [key] })).keys, []);
      assert.equal((await refusal(ann.call('counter.add', { key }))).code, 108, 'counters that count votes are not added to');
      assert.equal((await refusal(ann.call('counter.vote', { key: room() }))).code, 108, 'and the reverse');
      assert.equal((await refusal(ann.call('counter.vote', { key: room('seen'), on: false }))).code, 108, 'nobody takes back what was seen');
    });

    test('refusals carry the code of the table', async (t) => {
      const ann = person(t, 'ann');
      await next(ann, 'connected');
      const table = [
        [104, 'method not found', () => ann.rpc('counter.remove', ann.pack({}))],
        [107, 'bad request', () => ann.rpc('counter.add', ann.pack({ by: 1 }))],
        [102, 'unknown channel', () => ann.publish('nowhere:a', ann.pack(1))],
        [102, 'unknown channel', () => ann.rpc('counter.add', ann.pack({ key: 'nowhere:a' }))],
        [103, 'permission denied', () => ann.publish('read:a', ann.pack(1))],
        [103, 'permission denied', () => ann.presence('read:a')],
        [103, 'permission denied', () => ann.presenceStats('read:a')],
        [103, 'permission denied', () => ann.history('read:a', { limit: 1 })],
        [103, 'permission denied', () => ann.rpc('counter.add', ann.pack({ key: 'read:a' }))],
        [103, 'permission denied', () => ann.publish('a#bob,carol', ann.pack(1))],
        [108, 'not available', () => ann.presence('plain:a')],
        [108, 'not available', () => ann.history('plain:a', { limit: 1 })],
        [107, 'bad request', () => ann.publish('with space', ann.pack(1))],
        [107, 'bad request', () => ann.publish('x'.repeat(256), ann.pack(1))],
      ];
      for (const [code, message, call] of table) assert.deepEqual(await refusal(call()), { code, message }, String(call));
      await ann.publish('x'.repeat(255), ann.pack(1));
    });

    test('a refused subscription ends with the code of the table', async (t) => {
      const ann = person(t, 'ann');
      const table = [
        ['nowhere:a', 102],
        ['$secret', 103],
        ['ticket:a', 103],
        ['team#bob', 103],
        ['presence:read:a', 103],
        ['presence:plain:a', 108],
        ['contacts:bob', 103],
        ['a{b}', 107],
        ['é', 107],
        ['x'.repeat(256), 107],
      ];
      for (const [channel, code] of table) {
        const subscription = ann.newSubscription(channel);
        const ended = next(subscription, 'unsubscribed');
        subscription.subscribe();
        assert.equal((await ended).code, code, channel);
      }
      await join(ann, 'team#ann,bob');
    });

    test('a client holds so many channels and no more', async (t) => {
      const ann = person(t, 'ann');
      await Promise.all(Array.from({ length: 12 }, () => join(ann, room())));
      const more = ann.newSubscription(room());
      const ended = next(more, 'unsubscribed');
      more.subscribe();
      assert.equal((await ended).code, 106);
    });

    test('a service can unsubscribe a user, for good', async (t) => {
      const ann = person(t, `ann-${room()}`);
      const annRoom = await join(ann, room());
      const ended = next(annRoom, 'unsubscribed');
      const user = Object.values((await annRoom.presence()).clients)[0].user;
      assert.deepEqual(await node.api('unsubscribe', { user, channel: annRoom.channel }), { result: {} });
      const { code, reason } = await ended;
      assert.deepEqual({ code, reason }, { code: 2000, reason: 'server unsubscribe' });
      await eventually('the roster is empty', async () => (await ann.presenceStats(annRoom.channel)).numClients === 0);
    });

    test('a service can send a user away, for good or to come back', async (t) => {
      const user = `ann-${room()}`;
      const ann = person(t, user);
      await next(ann, 'connected');
      const reconnecting = next(ann, 'connecting');
      const again = reconnecting.then(() => next(ann, 'connected'));
      await node.api('disconnect', { user, disconnect: { code: 3011, reason: 'force reconnect' } });
      assert.deepEqual(await reconnecting, { code: 3011, reason: 'force reconnect' });
      await again;
      const gone = next(ann, 'disconnected');
      assert.deepEqual(await node.api('disconnect', { user }), { result: {} });
      assert.deepEqual(await gone, { code: 3503, reason: 'force disconnect' });
    });

    test('send has nobody to receive it: the connection ends with 3508', async (t) => {
      const ann = person(t, 'ann');
      await next(ann, 'connected');
      const gone = next(ann, 'disconnected');
      await ann.send(ann.pack({ a: 1 }));
      assert.deepEqual(await gone, { code: 3508, reason: 'not available' });
    });

    test('a client that subscribes to many channels before it is connected is in all of them', async (t) => {
      const ann = person(t, 'ann');
      const rooms = await Promise.all(Array.from({ length: 8 }, () => join(ann, room())));
      await Promise.all(rooms.map((annRoom, index) => annRoom.say(index)));
      for (const [index, annRoom] of rooms.entries()) assert.deepEqual(await annRoom.messages.take(1), [index]);
    });
  });
}

test('history that has run out of time cannot be recovered', async (t) => {
  const wire = await layWire(t, node);
  const ann = sdk(t, TRANSPORTS[0], wire, { token: token('ann') });
  const annRoom = ann.newSubscription(room('brief'), { recoverable: true });
  annRoom.subscribe();
  ann.connect();
  await annRoom.ready();
  const resubscribed = next(annRoom, 'subscribing').then(() => next(annRoom, 'subscribed'));
  wire.cut();
  await node.publish(annRoom.channel, 'missed');
  await eventually('it has run out', async () => (await node.api('history', { channel: annRoom.channel, limit: 10 })).result.publications.length === 0);
  wire.mend();
  assert.equal((await resubscribed).recovered, false);
});

test('after a restart the epoch is another and recovery is refused, and the counter keeps its value', async (t) => {
  const own = await startNode(t, GUARDED);
  const wire = await layWire(t, own);
  const ann = sdk(t, TRANSPORTS[0], wire, { token: token('ann') });
  const annRoom = ann.newSubscription('room', { recoverable: true });
  annRoom.subscribe();
  ann.connect();
  await annRoom.ready();
  await annRoom.publish('before');
  await ann.rpc('counter.add', { key: 'likes', by: 7 });
  const { epoch } = await annRoom.history({ limit: 0 });
  const resubscribed = next(annRoom, 'subscribing').then(() => next(annRoom, 'subscribed'));
  await own.stop('SIGKILL');
  await own.start();
  const { wasRecovering, recovered } = await resubscribed;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
  assert.notEqual((await annRoom.history({ limit: 0 })).epoch, epoch);
  assert.equal((await ann.call('counter.get', { keys: ['likes'] })).counters[0].value_s, '7');
});

test('a node that is told to stop sends its clients elsewhere with 3001', async (t) => {
  const own = await startNode(t, { ...GUARDED, 'shutdown.drain_s': 5 });
  for (const transport of TRANSPORTS) sdk(t, transport, own, { token: token('ann') }).connect();
  const ann = sdk(t, TRANSPORTS[0], own, { token: token('ann') });
  ann.connect();
  await next(ann, 'connected');
  const sentAway = next(ann, 'connecting');
  await own.stop('SIGTERM');
  assert.deepEqual(await sentAway, { code: 3001, reason: 'shutdown' });
});

test('the SDK falls back through its transports in the order of its list', async (t) => {
  const refused = { websocket: { ws: 'ws://127.0.0.1:1', http: node.http }, stream: { ws: 'ws://127.0.0.1:1', http: node.http } };
  const plain = sdk(t, FALLBACK, node, { token: token('ann') });
  plain.connect();
  assert.equal((await next(plain, 'connected')).transport, 'websocket');
  const noSocket = sdk(t, FALLBACK, refused.websocket, { token: token('ann') });
  noSocket.connect();
  assert.equal((await next(noSocket, 'connected')).transport, 'http_stream');
  const noFetch = (address, ...rest) => (String(address).endsWith('http_stream') ? Promise.reject(new Error('no')) : fetch(address, ...rest));
  const onlySse = sdk(t, FALLBACK, refused.stream, { token: token('ann'), fetch: noFetch });
  onlySse.connect();
  assert.equal((await next(onlySse, 'connected')).transport, 'sse');
});

test('an anonymous client may do what some namespace grants to anyone, and nothing else', async (t) => {
  const nobody = sdk(t, TRANSPORTS[0], node);
  nobody.connect();
  await next(nobody, 'connected');
  const [open, closed] = [room('open'), room()];
  await nobody.publish(open, 'hello');
  assert.equal((await nobody.history(open, { limit: 1 })).publications.length, 1);
  assert.equal((await nobody.call('counter.add', { key: open, by: 1 })).value, 1);
  const calls = [
    () => nobody.publish(closed, 1),
    () => nobody.presence(closed),
    () => nobody.history(closed),
    () => nobody.rpc('counter.add', { key: closed }),
    () => nobody.rpc('counter.get', { keys: [open, closed] }),
    () => nobody.rpc('presence.page', { channel: closed }),
    () => nobody.rpc('presence.online', { users: ['ann'] }),
  ];
  for (const call of calls) assert.equal((await refusal(call())).code, 103, String(call));
});

test('anonymous clients connect in development mode, and are members under their client id', async (t) => {
  const open = await startNode(t);
  for (const transport of TRANSPORTS) {
    const client = sdk(t, transport, open);
    client.connect();
    const { client: id } = await next(client, 'connected');
    const channel = room();
    const subscription = client.newSubscription(channel);
    subscription.subscribe();
    await subscription.ready();
    const { clients } = await eventually('it is a member', async () => {
      const presence = await subscription.presence();
      return Object.keys(presence.clients).length && presence;
    });
    assert.deepEqual(Object.values(clients).map(({ user, client: member }) => [user, member]), [['', id]]);
    assert.deepEqual(await subscription.presenceStats(), { numClients: 1, numUsers: 1 });
  }
});
