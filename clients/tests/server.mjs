// What the suites run against: one node, or a region; tokens for it, and wires to it that can be cut.
import { createHmac } from 'node:crypto';
import net from 'node:net';
import { API_KEY, Node, REPOSITORY, scratch } from './node.mjs';
import { Region } from './region.mjs';

export { API_KEY, REPOSITORY };
export const SECRET = 'a secret of at least thirty-two bytes';

/** Settings for a node with tokens and services, and one namespace for each set of rules that the suites need. */
export const GUARDED = {
  'auth.hmac_secrets': [SECRET],
  'auth.api_keys': [API_KEY],
  namespace: [
    { name: 'open', subscribe: 'anyone', publish: 'anyone', presence: 'anyone', history: 'anyone', counter_get: 'anyone', counter_add: 'anyone' },
    { name: 'short', history_size: 2 },
    { name: 'long', history_size: 1000 },
    { name: 'brief', history_ttl_s: 1 },
    { name: 'fleeting', history_size: 0 },
    { name: 'plain', history_size: 0, presence: false, join_leave: false },
    { name: 'read', publish: 'service', presence: 'service', history: 'service', counter_add: 'service' },
    { name: 'ticket', subscribe: 'token', publish: 'token' },
    { name: 'liked', type: 'unique' },
    { name: 'seen', type: 'seen' },
    { name: 'hidden', counter_get: 'service' },
  ],
  'presence.grace_s': 1,
};

/** Whether the suite runs against a region of several gateways instead of one process. */
export const IN_CLUSTER = process.env.HEADCOUNT_CLUSTER === '1';

/** Runs a node, or in a cluster a region, until the test `t` ends, without one until `dispose`. Without `config`, in development mode. */
export async function startNode(t, config = {}) {
  const node = new (IN_CLUSTER ? Region : Node)(await scratch(), config);
  t?.after(() => node.dispose());
  await node.start();
  return node;
}

/** A token for `user`, signed with HMAC and the hash that `alg` names. */
export function token(user, claims = {}, { alg = 'HS256', secret = SECRET } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg, typ: 'JWT' })}.${part({ ...(user && { sub: user }), ...claims })}`;
  return `${signed}.${createHmac(alg.replace('HS', 'sha'), secret).update(signed).digest('base64url')}`;
}

/** Seconds since 1970, `ahead` from now: the unit of token claims. */
export const inSeconds = (ahead) => Math.floor(Date.now() / 1000) + ahead;

/**
 * A wire to one of the node's listeners. `cut` ends every connection without a word to either side and admits no new one,
 * `mute` loses whatever the node says from now on, `mend` lets connections through again.
 */
export async function layWire(t, node, listener = 'client') {
  const sockets = new Set();
  const wire = { isCut: false, isMute: false };
  const relay = net.createServer((near) => {
    if (wire.isCut) return near.destroy();
    const [host, port] = (node.listen?.[listener] ?? '127.0.0.1:1').split(':'); // while the node restarts: a closed port
    const far = net.connect(Number(port), host);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.setNoDelay(true).on('error', () => {}).on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.on('data', (bytes) => (socket === far && wire.isMute) || other.write(bytes));
    }
  });
  await new Promise((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${relay.address().port}`;
  wire.cut = () => {
    wire.isCut = true;
    sockets.forEach((socket) => socket.destroy());
  };
  wire.mute = () => (wire.isMute = true);
  wire.mend = () => (wire.isCut = wire.isMute = false);
  t.after(() => {
    wire.cut();
    relay.close();
  });
  return Object.assign(wire, { http: `http://${address}`, ws: `ws://${address}` });
}

/** How many were ended for reading too slowly: by this node, or by the region's gateways together. */
export async function slow(service) {
  const counts = (service.gateways ?? [service]).map(async ({ listen }) => {
    const metrics = await (await fetch(`http://${listen.admin}/metrics`)).text();
    return Number(/^headcount_disconnects_total\{reason="slow"\} (\d+)/m.exec(metrics)?.[1] ?? 0);
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}
