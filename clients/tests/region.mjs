// A region behind the face of one node: two gateways that take turns, a counter node, and what they share: Redis nodes and an etcd.
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary, Node, PATIENCE_MS, Process, Service, variables } from './node.mjs';
import { eventually } from './wait.mjs';

const { PATH } = process.env;
const REDIS_NODES = ['r0', 'r1', 'r2'];
const GATEWAYS = ['g0', 'g1'];
/** Other programs may take a port between its choice and its use: then another is chosen, so often. */
const PORT_ATTEMPTS = 5;
/** Gateways of one region believe the same tokens; in development mode each would make up a secret of its own. */
const DEVELOPMENT = { 'auth.development': true, 'auth.hmac_secrets': ['what all gateways here share, and nobody else'] };
/** Whose turn it is, over and over. Twice the same in a row, because an SDK takes two addresses at a time: one for a stream, one to send to. */
const TURNS = [0, 1, 1, 0];

export class Region extends Service {
  #config; #etcd; #redis; #counters;
  /** Each a `Node`. */
  gateways = [];

  constructor(dataDir, config) {
    super();
    this.dataDir = dataDir;
    this.#etcd = new Backend('etcd', join(dataDir, 'etcd'), etcd, 2);
    this.#redis = REDIS_NODES.map((name) => new Backend('redis-server', join(dataDir, name), redis, 1));
    this.#config = config;
    const turns = (order, address) => {
      let taken = 0;
      return { enumerable: true, get: () => address(this.gateways[order[taken++ % order.length]] ?? {}) };
    };
    // Not on the prototype, so that they are passed on to pages as well.
    Object.defineProperties(this, { http: turns(TURNS, ({ http }) => http), ws: turns([0, 1], ({ ws }) => ws) });
    const client = turns([0, 1], ({ listen }) => listen?.client ?? '127.0.0.1:1');
    const [resp, admin] = ['resp', 'admin'].map((name) => ({ enumerable: true, get: () => this.#counters?.listen?.[name] }));
    this.listen = Object.defineProperties({}, { client, resp, admin });
  }

  /** Starts everything, with the data that is there: the nodes on the addresses that they had if there is a `listen`, else on free ports. */
  async start(listen) {
    await Promise.all([this.#etcd, ...this.#redis].map((backend) => backend.start()));
    const isNew = !this.#counters;
    if (isNew) {
      this.#counters = this.#node('c0', ['counter']);
      this.gateways = GATEWAYS.map((name) => this.#node(name, ['gateway', 'coordinator']));
    }
    // Gateways are ready once there is a ring, and it is one of them that makes it.
    const nodes = [this.#counters, ...this.gateways].map((node) => node.start(listen && node.listen));
    await Promise.all([...nodes, isNew && this.#makeRing()]);
  }

  /** Ends the nodes with `signal`, then their servers; of the data, what is on disk stays: counters and the ring. */
  async stop(signal) {
    await Promise.all(this.gateways.map((gateway) => gateway.stop(signal)));
    await this.#counters?.stop(signal);
    await Promise.all([this.#etcd, ...this.#redis].map((backend) => backend.stop()));
  }

  #node(name, roles) {
    const isDevelopment = !Object.keys(this.#config).some((key) => key.startsWith('auth.'));
    const place = { 'node.name': name, 'node.roles': roles, 'etcd.endpoints': [this.#etcd.url] };
    const counting = { 'counter.key': 'the key of this cluster', 'listen.peer': '127.0.0.1:0' };
    return new Node(join(this.dataDir, name), { ...(isDevelopment && DEVELOPMENT), ...this.#config, ...place, ...counting });
  }

  async #makeRing() {
    const file = join(this.dataDir, 'layout.json');
    await writeFile(file, JSON.stringify({ nodes: this.#redis.map(({ url }, at) => ({ id: REDIS_NODES[at], url })) }));
    const env = variables({ 'etcd.endpoints': [this.#etcd.url] });
    const apply = () => promisify(execFile)(binary(), ['ring', 'apply', file, '--force'], { env });
    let why;
    await eventually('the ring is made', () => apply().catch((error) => void (why = error.stderr)), PATIENCE_MS).catch((error) => {
      throw new Error(`${error.message}: ${why}`);
    });
  }
}

/** A server that nodes use, on ports of its own, which it keeps. `manner` says how it is run and when it answers. */
class Backend {
  #program; #directory; #manner; #count; #ports; #process;

  constructor(program, directory, manner, ports) {
    [this.#program, this.#directory, this.#manner, this.#count] = [program, directory, manner, ports];
  }

  get url() {
    return this.#manner.url(this.#ports[0]);
  }

  async start() {
    await mkdir(this.#directory, { recursive: true });
    const isFirst = !this.#ports;
    for (let attempt = 1; ; attempt += 1) {
      this.#ports ??= await freePorts(this.#count);
      const process = (this.#process = new Process(this.#program, this.#manner.args(this.#directory, this.#ports), { PATH }));
      const settled = async () => process.ended !== null || this.#manner.answers(this.#ports[0]);
      await eventually(`${this.#program} answers`, settled, PATIENCE_MS);
      if (process.ended === null) return;
      const isTaken = /address already in use/i.test(process.log);
      if (!isTaken || !isFirst || attempt === PORT_ATTEMPTS) throw new Error(`${this.#program} ended with ${process.ended}:\n${process.log}`);
      this.#ports = undefined;
    }
  }

  async stop() {
    await this.#process?.stop('SIGKILL');
  }
}

const etcd = {
  url: (port) => `http://127.0.0.1:${port}`,
  args(directory, [client, peer]) {
    const [clients, peers] = [client, peer].map(etcd.url);
    const own = ['--name', 'm0', '--data-dir', directory, '--initial-cluster', `m0=${peers}`, '--logger', 'zap', '--log-level', 'warn'];
    const listeners = ['--listen-client-urls', clients, '--advertise-client-urls', clients];
    return [...own, ...listeners, '--listen-peer-urls', peers, '--initial-advertise-peer-urls', peers];
  },
  answers: (port) =>
    fetch(`${etcd.url(port)}/health`)
      .then(async (answer) => (await answer.json()).health === 'true')
      .catch(() => false),
};

/** Without a file: whatever it held is gone with it. */
const redis = {
  url: (port) => `redis://127.0.0.1:${port}`,
  args: (directory, [port]) => ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory, '--save', '', '--appendonly', 'no'],
  answers: (port) =>
    new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
      socket.once('data', (reply) => resolve(reply.toString() === '+PONG\r\n'));
      socket.on('error', () => {});
      for (const end of ['data', 'close']) socket.once(end, () => (socket.destroy(), resolve(false)));
    }),
};

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => server.listening || new Promise((resolve) => server.once('listening', resolve))));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
