// Tokens: who a client is, what it may subscribe to, and what happens when they run out.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { refusal, room, sdk, TRANSPORTS } from './sdk.mjs';
import { GUARDED, inSeconds, startNode, token } from './server.mjs';
import { eventually, next } from './wait.mjs';

// A refresh comes when the token has run out, or up to a second later, because replies carry whole seconds: the rest is for a slow machine.
const GRACE_S = 3;
// Longer than a token of one second and the grace.
const OVER_MS = (1 + GRACE_S) * 1000 + 500;

let node;
before(async () => {
  const namespace = GUARDED.namespace.filter(({ name }) => name !== 'open'); // with it, anonymous clients might enter
  node = await startNode(undefined, { ...GUARDED, namespace, 'limits.expired_grace_s': GRACE_S });
});
after(() => node?.dispose());

const connecting = (t, transport, options) => {
  const client = sdk(t, transport, node, options);
  client.connect();
  return client;
};

for (const transport of TRANSPORTS) {
  describe(transport.name, { concurrency: true }, () => {
    test('a token that nobody signed ends the connection with 3500', async (t) => {
      const wrong = { garbage: 'abc', unsigned: token('ann', {}, { secret: 'another secret of thirty-two bytes' }), cut: token('ann').slice(0, -2) };
      for (const [why, bad] of Object.entries(wrong)) {
        assert.deepEqual(await next(connecting(t, transport, { token: bad }), 'disconnected'), { code: 3500, reason: 'invalid token' }, why);
      }
    });

    test('without a token, where anonymous clients may not enter, the connect is refused with 101', async (t) => {
      assert.deepEqual(await next(connecting(t, transport), 'disconnected'), { code: 101, reason: 'unauthorized' });
    });

    test('an expired token is answered 109, and the SDK fetches another and connects', async (t) => {
      let fetched = 0;
      const getToken = async () => ((fetched += 1), token('ann'));
      await next(connecting(t, transport, { token: token('ann', { exp: inSeconds(-5) }), getToken }), 'connected');
      assert.equal(fetched, 1);
    });

    test('a token about to expire is refreshed, and the connection stays', async (t) => {
      let fetched = 0;
      const client = connecting(t, transport, { getToken: async () => token('ann', { exp: inSeconds((fetched += 1) === 1 ? 1 : 3600) }) });
      client.on('connecting', ({ code, reason }) => code && assert.fail(`reconnected: ${code} ${reason}`));
      await next(client, 'connected');
      await eventually('the token is refreshed', () => fetched === 2);
      await client.presenceStats('room');
      await assert.rejects(next(client, 'connecting', OVER_MS), /never happened/);
    });

    test('a private channel needs a token that names it and its user', async (t) => {
      const ann = connecting(t, transport, { token: token('ann') });
      const channel = `$${room()}`;
      const cases = [
        ['for another channel', token('ann', { channel: `${channel}x` }), 103],
        ['for another user', token('bob', { channel }), 103],
        ['signed by nobody', token('ann', { channel }, { secret: 'another secret of thirty-two bytes' }), 103],
      ];
      for (const [why, bad, code] of cases) {
        const refused = ann.newSubscription(channel, { token: bad });
        const ended = next(refused, 'unsubscribed');
        refused.subscribe();
        assert.equal((await ended).code, code, why);
        ann.removeSubscription(refused);
      }
      const subscription = ann.newSubscription(channel, { token: token('ann', { channel, info: { seat: 7 } }) });
      subscription.subscribe();
      await subscription.ready();
      await subscription.publish(ann.pack('inside'));
      const { clients } = await eventually('ann is in', async () => {
        const presence = await subscription.presence();
        return Object.keys(presence.clients).length && presence;
      });
      assert.deepEqual(ann.unpack(Object.values(clients)[0].chanInfo), { seat: 7 });
    });

    test('an expired subscription token is answered 109, and the SDK fetches another; later it is refreshed', async (t) => {
      const ann = connecting(t, transport, { token: token('ann') });
      const channel = `$${room()}`;
      const lives = [-5, 1, 3600];
      let fetched = 0;
      const subscription = ann.newSubscription(channel, { getToken: async () => token('ann', { channel, exp: inSeconds(lives[fetched++]) }), minResubscribeDelay: 10 });
      subscription.subscribe();
      await subscription.ready();
      await eventually('the token is refreshed', () => fetched === 3);
      await subscription.publish(ann.pack('still inside'));
      await assert.rejects(next(subscription, 'subscribing', OVER_MS), /never happened/);
    });
  });
}

const [json] = TRANSPORTS;

for (const alg of ['HS256', 'HS384', 'HS512']) {
  test(`a token may be signed with ${alg}`, async (t) => {
    await next(connecting(t, json, { token: token('ann', {}, { alg }) }), 'connected');
  });
}

test('a connection whose token ran out and was not refreshed ends with 3005', async (t) => {
  const client = connecting(t, json, { getToken: () => new Promise(() => {}), token: token('ann', { exp: inSeconds(1) }) });
  await next(client, 'connected');
  assert.deepEqual(await next(client, 'connecting'), { code: 3005, reason: 'connection expired' });
});

test('a subscription whose token ran out and was not refreshed ends the connection with 3006', async (t) => {
  const ann = connecting(t, json, { token: token('ann') });
  const channel = `$${room()}`;
  const subscription = ann.newSubscription(channel, { getToken: () => new Promise(() => {}), token: token('ann', { channel, exp: inSeconds(1) }) });
  subscription.subscribe();
  await subscription.ready();
  assert.deepEqual(await next(ann, 'connecting'), { code: 3006, reason: 'subscription expired' });
});

test('a token may subscribe its user to channels as it connects, also where rights ask for a token', async (t) => {
  const [one, two] = [room('ticket'), room()];
  const ann = connecting(t, json, { token: token('ann', { channels: [one], subs: { [two]: { info: { seat: 1 }, data: { hello: true } } } }) });
  const heard = [];
  ann.on('subscribed', ({ channel, data }) => heard.push([channel, data]));
  const publication = next(ann, 'publication');
  await next(ann, 'connected');
  await eventually('both are subscribed', () => heard.length === 2);
  assert.deepEqual(heard.sort(), [[one, undefined], [two, { hello: true }]].sort());
  await ann.publish(one, 'mine');
  const { channel, data } = await publication;
  assert.deepEqual([channel, data], [one, 'mine']);
});

test('a channel that names its users admits those only, whatever their tokens', async (t) => {
  const bob = connecting(t, json, { token: token('bob') });
  await next(bob, 'connected');
  assert.equal((await refusal(bob.publish('talk#ann', 1))).code, 103);
  assert.equal((await refusal(bob.history('talk#ann', { limit: 1 }))).code, 103);
  await bob.publish('talk#ann,bob', 1);
});
