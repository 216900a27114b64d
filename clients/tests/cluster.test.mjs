// What only a cluster can show: clients on different gateways, and a gateway that dies.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { room, sdk, TRANSPORTS } from './sdk.mjs';
import { GUARDED, IN_CLUSTER, layWire, startNode, token } from './server.mjs';
import { eventually, next, record } from './wait.mjs';

describe('in a cluster', { skip: !IN_CLUSTER && 'one process is one gateway' }, () => {
  let node;
  before(async () => {
    node = await startNode(undefined, GUARDED);
  });
  after(() => node?.dispose());

  // All suites rely on it when they run against a region.
  for (const transport of TRANSPORTS) {
    test(`clients in a row are on different gateways: ${transport.name}`, async (t) => {
      for (const user of ['ann', 'bob']) {
        const client = sdk(t, transport, node, { token: token(user) });
        client.connect();
        await next(client, 'connected');
      }
      const clients = async ({ listen }) => {
        const metrics = await (await fetch(`http://${listen.admin}/metrics`)).text();
        return metrics.match(/^headcount_connections\{.*\} [1-9]\d*$/gm)?.map((line) => Number(line.split(' ')[1])) ?? [];
      };
      await eventually('each has one', async () => (await Promise.all(node.gateways.map(clients))).every((found) => String(found) === '1'));
    });
  }

  test('a gateway is killed: its client goes on at another one, and has missed nothing', async (t) => {
    const [dying, other] = node.gateways;
    const place = { listen: dying.listen };
    const wire = await layWire(t, place);
    const ann = sdk(t, TRANSPORTS[0], wire, { token: token('ann') });
    const annRoom = ann.newSubscription(room(), { recoverable: true });
    const heard = record(annRoom, 'publication', ({ data }) => data);
    annRoom.subscribe();
    ann.connect();
    await annRoom.ready();
    await other.publish(annRoom.channel, 'before');
    await heard.take(1);
    const back = next(annRoom, 'subscribing').then(() => next(annRoom, 'subscribed'));
    await dying.stop('SIGKILL');
    await other.publish(annRoom.channel, 'meanwhile');
    place.listen = other.listen;
    assert.equal((await back).recovered, true);
    await other.publish(annRoom.channel, 'after');
    assert.deepEqual(await heard.take(3), ['before', 'meanwhile', 'after']);
  });
});
