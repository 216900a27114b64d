// A region that a test operates: an etcd, Redis nodes that come and go, and gateways by number, each a real process.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { binary, Node, running, scratch } from './node.mjs';
import { layWire } from './server.mjs';
import { eventually } from './wait.mjs';

const START_MS = 30_000;

/** Starts `redis` nodes (`redis-0`…) with a ring of them all, and `gateways` (`g0`…), each with `config` besides; until the test ends. */
export async function startRegion(t, { redis = 2, gateways = 2, config = {} } = {}) {
  const region = new Region(await mkdtemp(join(tmpdir(), 'headcount-region-')), config);
  t.after(() => region.dispose());
  await region.startEtcd();
  for (let at = 0; at < redis; at += 1) await region.startRedis(`redis-${at}`);
  // Gateways are ready once there is a ring, and the ring is made by one of them.
  await Promise.all([region.join(t), region.makeRing()]);
  for (let at = 1; at < gateways; at += 1) await region.join(t);
  return region;
}

/** Two regions, `eu` and `us`, of one node each, whose gateways and counters reach each other over `wires`; until the test ends. */
export async function startRegions(t) {
  const names = ['eu', 'us'];
  const places = names.map(() => ({})); // where each listens, once it does
  const wires = await Promise.all(places.map((place) => layWire(t, place, 'peer')));
  const address = (at) => wires[at].http.replace('http://', '');
  const nodes = await Promise.all(names.map(async (name, at) => {
    const links = { 'regions.peers': [`${names[1 - at]}=${address(1 - at)}`], 'regions.stale_s': 2, 'regions.gone_s': 60 };
    const counters = { 'counter.seeds': [address(1 - at)], 'counter.address': address(at), 'counter.key': 'the key of this cluster' };
    const own = { 'node.name': 'n1', 'node.region': name, 'listen.peer': '127.0.0.1:0', namespace: [{ name: 'chat', global: true }, { name: 'likes' }] };
    const node = new Node(await scratch(), { ...own, ...links, ...counters });
    t.after(() => node.dispose());
    await node.start();
    places[at].listen = node.listen;
    return node;
  }));
  return { nodes, wires };
}

class Region {
  gateways = [];
  redis = new Map(); // name → { url, child }
  #scratch; #config; #children = []; #etcd = '';

  constructor(scratch, config) {
    [this.#scratch, this.#config] = [scratch, config];
  }

  /** One more gateway. */
  async join(t) {
    const own = { 'node.name': `g${this.gateways.length}`, 'etcd.endpoints': [this.#etcd] };
    const gateway = new Node(await scratch(), { ...own, ...this.#config });
    t.after(() => gateway.dispose());
    await gateway.start();
    this.gateways.push(gateway);
    return gateway;
  }

  /** Of all Redis nodes that there are. */
  async makeRing() {
    const file = join(this.#scratch, 'layout.json');
    await writeFile(file, JSON.stringify({ nodes: [...this.redis].map(([id, { url }]) => ({ id, url })) }));
    await eventually('there is a ring', () => this.ring('apply', file, '--force').catch(() => false), START_MS);
  }

  async startEtcd() {
    const [client, peer] = [await freePort(), await freePort()];
    this.#etcd = `http://127.0.0.1:${client}`;
    const peers = `http://127.0.0.1:${peer}`;
    this.#spawn('etcd', [
      '--name', 'e', '--data-dir', join(this.#scratch, 'etcd'), '--listen-client-urls', this.#etcd, '--advertise-client-urls', this.#etcd,
      '--listen-peer-urls', peers, '--initial-advertise-peer-urls', peers, '--initial-cluster', `e=${peers}`, '--log-level', 'error',
    ]);
    await eventually('etcd answers', async () => (await fetch(`${this.#etcd}/health`).catch(() => null))?.ok, START_MS);
  }

  /** A Redis node, not in the ring yet; again at the same address if it was killed. */
  async startRedis(name) {
    const port = this.redis.get(name)?.port ?? (await freePort());
    const child = this.#spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', this.#scratch]);
    this.redis.set(name, { port, child, url: `redis://127.0.0.1:${port}` });
    await eventually(`${name} answers`, () => answers(port), START_MS);
  }

  /** Kills a Redis node as a power cut would. */
  async killRedis(name) {
    const { child } = this.redis.get(name);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** `headcount ring …`, as an operator runs it; what it said. */
  ring(...args) {
    const env = { HEADCOUNT_ETCD__ENDPOINTS: this.#etcd, HEADCOUNT_NODE__REGION: this.#config['node.region'] ?? 'local' };
    return new Promise((resolve, reject) => {
      const child = spawn(binary(), ['ring', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text));
      child.once('exit', (code) => (code === 0 ? resolve(said) : reject(new Error(`headcount ring ${args.join(' ')} ended with ${code}: ${said}`))));
    });
  }

  async dispose() {
    await Promise.all(this.#children.map((child) => child.exitCode ?? child.signalCode ?? new Promise((gone) => child.once('exit', gone).kill('SIGKILL'))));
    await rm(this.#scratch, { recursive: true, force: true });
  }

  #spawn(command, args) {
    const child = spawn(command, args, { stdio: 'ignore' });
    child.once('error', (error) => { throw new Error(`${command} does not start: ${error.message}; is it installed?`); });
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.#children.push(child);
    return child;
  }
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether a Redis there answers PING. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.on('error', () => resolve(false));
    socket.on('data', (data) => {
      resolve(data.toString().startsWith('+PONG'));
      socket.destroy();
    });
  });
}
