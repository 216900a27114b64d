// Processes that end with the suite; one node, the real binary on free ports; and its service routes.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './wait.mjs';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
export const API_KEY = 'a-service';
/** For starting anything while other suites start theirs. */
export const PATIENCE_MS = 60_000;

// They must not outlive a suite that is stopped in its middle.
export const running = new Set();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

export function binary() {
  const places = [process.env.HEADCOUNT_BIN, join(REPOSITORY, 'target/release/headcount'), join(REPOSITORY, 'target/debug/headcount')];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error('no headcount binary: build it with `cargo build`, or name it in HEADCOUNT_BIN');
  return found;
}

/** The environment that says `config`, which is keyed `section.key`. */
export function variables(config) {
  const name = (key) => `HEADCOUNT_${key.replace('.', '__').toUpperCase()}`;
  return Object.fromEntries(Object.entries(config).map(([key, value]) => [name(key), typeof value === 'string' ? value : JSON.stringify(value)]));
}

/** A child process with the end of what it wrote. */
export class Process {
  #child; #log = '';

  constructor(program, args, env) {
    const child = (this.#child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] }));
    running.add(child);
    for (const end of ['exit', 'error']) child.once(end, () => running.delete(child));
    child.once('error', (error) => (this.failure = `${program}: ${error.message}`));
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (this.#log = (this.#log + text).slice(-20_000)));
  }

  get log() {
    return this.#log;
  }

  /** How it ended; `null` while it runs. */
  get ended() {
    return this.failure ?? this.#child.exitCode ?? this.#child.signalCode;
  }

  /** Stops it as it stands: its connections stay open, and nothing answers. */
  pause() {
    this.#child.kill('SIGSTOP');
  }

  /** Ends it with `signal` and waits until it is gone. */
  async stop(signal = 'SIGTERM') {
    if (this.ended !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    await gone;
  }
}

/** What one asks of a node, or of the nodes of a region, at `http`. */
export class Service {
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

  /** Kills it and starts it again on the same addresses and data. */
  async restart() {
    await this.stop('SIGKILL');
    await this.start(this.listen);
  }

  async dispose() {
    await this.stop('SIGKILL');
    await rm(this.dataDir, { recursive: true, force: true });
  }
}

export const scratch = () => mkdtemp(join(tmpdir(), 'headcount-'));

export class Node extends Service {
  #config; #process;

  constructor(dataDir, config) {
    super();
    this.dataDir = dataDir;
    this.#config = config;
  }

  /** Starts the process, on the addresses of `listen` or on free ports. */
  async start(listen = {}) {
    const own = { 'node.data_dir': this.dataDir, 'shutdown.drain_s': 0, 'log.level': 'warn', 'log.format': 'json' };
    const listeners = Object.fromEntries(['client', 'resp', 'admin'].map((name) => [`listen.${name}`, listen[name] ?? '127.0.0.1:0']));
    await rm(join(this.dataDir, 'listen.json'), { force: true });
    const process = (this.#process = new Process(binary(), [], variables({ ...own, ...listeners, ...this.#config })));
    const ready = async () => {
      if (process.ended !== null) throw new Error(`the node ended with ${process.ended}:\n${process.log}`);
      this.listen = JSON.parse(await readFile(join(this.dataDir, 'listen.json'), 'utf8').catch(() => 'null'));
      return this.listen && (await fetch(`http://${this.listen.admin}/readyz`).catch(() => null))?.status === 200;
    };
    await eventually('the node is ready', ready, PATIENCE_MS);
    this.http = `http://${this.listen.client}`;
    this.ws = `ws://${this.listen.client}`;
  }

  /** Stops the process as it stands. */
  pause() {
    this.#process.pause();
  }

  /** Ends the process with `signal` and waits until it is gone; the data stays, so that `start` continues from it. */
  async stop(signal) {
    await this.#process?.stop(signal);
  }
}
