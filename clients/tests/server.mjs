// Starts the real binary on free ports, signs tokens for it, calls its service routes, and cuts wires to it.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './wait.mjs';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
export const SECRET = 'a secret of at least thirty-two bytes';
export const API_KEY = 'a-service';

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
  ],
  'presence.grace_s': 1,
};

// Nodes must not outlive a suite that is stopped in its middle.
export const running = new Set();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

export function binary() {
  const places = [process.env.HEADCOUNT_BIN, join(REPOSITORY, 'target/release/headcount'), join(REPOSITORY, 'target/debug/headcount')];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error('no headcount binary: build it with `cargo build`, or name it in HEADCOUNT_BIN');
  return found;
}

function variables(config) {
  const name = (key) => `HEADCOUNT_${key.replace('.', '__').toUpperCase()}`;
  return Object.entries(config).map(([key, value]) => [name(key), typeof value === 'string' ? value : JSON.stringify(value)]);
}

/** Runs a node until the test `t` ends, without one until `dispose`. Without `config`, it is in development mode. */
export async function startNode(t, config = {}) {
  const node = new Node(await mkdtemp(join(tmpdir(), 'headcount-')), config);
  t?.after(() => node.dispose());
  await node.start();
  return node;
}

class Node {
  #config; #child; #log = '';

  constructor(dataDir, config) {
    this.dataDir = dataDir;
    this.#config = config;
  }

  /** Starts the process, on the addresses of `listen` or on free ports. */
  async start(listen = {}) {
    const own = { 'node.data_dir': this.dataDir, 'shutdown.drain_s': 0, 'log.level': 'warn', 'log.format': 'json' };
    const listeners = Object.fromEntries(['client', 'resp', 'admin'].map((name) => [`listen.${name}`, listen[name] ?? '127.0.0.1:0']));
    const env = Object.fromEntries(variables({ ...own, ...listeners, ...this.#config }));
    await rm(join(this.dataDir, 'listen.json'), { force: true });
    const child = (this.#child = spawn(binary(), [], { env, stdio: ['ignore', 'ignore', 'pipe'] }));
    running.add(child);
    child.once('exit', () => running.delete(child));
    child.stderr.on('data', (text) => (this.#log = (this.#log + text).slice(-20_000)));
    const ready = async () => {
      if (child.exitCode !== null) throw new Error(`the node ended with ${child.exitCode}:\n${this.#log}`);
      this.listen = JSON.parse(await readFile(join(this.dataDir, 'listen.json'), 'utf8').catch(() => 'null'));
      return this.listen && (await fetch(`http://${this.listen.admin}/readyz`).catch(() => null))?.status === 200;
    };
    await eventually('the node is ready', ready, 30_000);
    this.http = `http://${this.listen.client}`;
    this.ws = `ws://${this.listen.client}`;
  }

  /** Ends the process with `signal` and waits until it is gone; the data stays, so that `start` continues from it. */
  async stop(signal = 'SIGTERM') {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  /** Stops the process as it stands: its connections stay open, and nothing answers. */
  pause() {
    this.#child.kill('SIGSTOP');
  }

  /** Kills the process and starts it again on the same addresses and data. */
  async restart() {
    await this.stop('SIGKILL');
    await this.start(this.listen);
  }

  async dispose() {
    await this.stop('SIGKILL');
    await rm(this.dataDir, { recursive: true, force: true });
  }

  /** One call of the HTTP API as a service; the body of a 2xx answer, else an error that carries `status` and `body`. */
  async call(method, path, body, headers = {}) {
    const answer = await fetch(this.http + path, {
      method,
      headers: { 'X-API-Key': API_KEY, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    const parsed = text && JSON.parse(text);
    if (!answer.ok) throw Object.assign(new Error(`${method} ${path}: ${answer.status} ${text}`), { status: answer.status, body: parsed });
    return parsed;
  }

  publish(channel, data) {
    return this.call('POST', `/v1/channels/${encodeURIComponent(channel)}/messages`, { data });
  }

  /** The server API in the Centrifugo manner. */
  api(method, body) {
    return this.call('POST', `/api/${method}`, body);
  }
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
 * A wire to the node's client listener. `cut` ends every connection without a word to either side and admits no new one,
 * `mute` loses whatever the node says from now on, `mend` lets connections through again.
 */
export async function layWire(t, node) {
  const sockets = new Set();
  const wire = { isCut: false, isMute: false };
  const relay = net.createServer((near) => {
    if (wire.isCut) return near.destroy();
    const [host, port] = (node.listen?.client ?? '127.0.0.1:1').split(':'); // while the node restarts: a closed port
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
