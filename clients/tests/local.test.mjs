// Two regions on this machine, by deploy/local: the tour of its page, command by command as they are printed, only the ports and
// the directory differ, and their answers as the page shows them; what is refused; and what becomes of processes.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { delimiter, join } from 'node:path';
import { describe, test } from 'node:test';
import { binary, REPOSITORY, scratch } from './node.mjs';
import { IN_CLUSTER } from './server.mjs';
import { eventually } from './wait.mjs';

const PROGRAMS = ['redis-server', 'redis-cli', 'etcd', 'prometheus', 'python3', 'curl', 'jq', 'flock'];
const isThere = (program) =>
  process.env.PATH.split(delimiter).some((directory) => {
    try {
      return accessSync(join(directory, program), constants.X_OK) ?? true;
    } catch {
      return false;
    }
  });
const missing = PROGRAMS.filter((program) => !isThere(program));
const skip = (process.platform !== 'linux' && 'it needs Linux') || (missing.length > 0 && `not installed: ${missing.join(', ')}`) || (IN_CLUSTER && 'it is a cluster of its own, and has been run');

const COMMAND_MS = 60_000; // any command; `up` itself gives up after two minutes
const CHANGE_MS = 15_000; // until what is asked for again and again is true
const PROCESSES = 19;
const REGION_PROCESSES = ['g1', 'g2', 'c1', 'c2', 'redis-1', 'redis-2', 'redis-3', 'etcd'];
const NAMES = ['a', 'b'].flatMap((region) => [...REGION_PROCESSES.map((name) => `${region}-${name}`), `link-to-${region}`]).concat('prometheus');

/** What each block of the tour must say, in its order; `SHOWN`: what the page shows below it, and nothing else. What only asks may be asked again until it does. */
const SHOWN = { asks: true };
const ANSWERS = [
  { says: [/^a +gateway g1 +http:\/\/127\.0\.0\.1:\d+\/ /m, /token gen --user ann/, /^both +Prometheus/m] }, // up
  { says: [/"acked":"fsync".*"value":3\b/] }, // a like
  { asks: true, says: [/"complete":true.*"value":3\b/] }, // in the other region
  { asks: true, says: [/"value":3\b/] }, // with min=
  { says: [] }, // two people enter
  SHOWN, // the rosters
  { says: [/"offset":1\b/] }, // a message
  SHOWN, // in the other region
  { says: [/silent both ways/] }, // cut
  { says: [/"acked":"fsync".*"value":4\b/, /^13$/m] }, // both like
  { says: [/"offset":2\b[^]*"offset":2\b/] }, // both publish
  { asks: true, says: [/"complete":false.*"silent":\["b"\].*"value":4\b[^]*"complete":false.*"silent":\["a"\].*"value":13\b/] }, // they differ
  SHOWN, // the messages differ
  SHOWN, // the rosters are stale
  { asks: true, says: [/"code":"precondition_failed"/] }, // max_staleness_ms
  { asks: true, says: [/^region a does not hear b: silent since \d\d:\d\d:\d\d \(\d+ s\)/m, /^region b does not hear a: silent since/m, /^gateway a\/g1 follows b: stale, as of \d\d:\d\d:\d\d \(\d+ s ago\): ./m, /^gateway b\/g2 follows a: stale/m, /^link-to-b: cut, silent$/m] },
  { asks: true, says: [/"instance":"a\/c1".*"member":"b\/c1"/, /"instance":"b\/c2".*"member":"a\/c1"/] }, // Prometheus
  { says: [/Both regions hear each other/] }, // heal
  { asks: true, says: [/"complete":true.*"value":14\b[^]*"complete":true.*"value":14\b/] }, // they are equal
  SHOWN, // the messages are the same
  SHOWN, // and the rosters
  { says: [/^ey[\w-]+\.[\w-]+\.[\w-]+$/m] }, // a token
  { asks: true, says: [/^region a hears b: up, last \d\.\d s ago, replication lag \d+ ms$/m, /^region b hears a: up/m, /^gateway a\/g1 follows b: live$/m, /^gateway b\/g2 follows a: live$/m, /^link-to-b: whole$/m] },
  { says: [new RegExp(`Ending ${PROCESSES} processes`)] }, // down
];

/** Whether nobody listens on any of the ports, as far as one can know before. */
async function isFree(base) {
  const ports = [0, ...[100, 200].flatMap((region) => [0, 1, 10, 11, 20, 21, 22, 23, 30, 31, 32, 33, 40, 41, 42, 43, 50, 51, 52, 60, 61].map((of) => region + of))];
  const free = await Promise.all(ports.map((of) => new Promise((resolve) => {
    const server = net.createServer().once('error', () => resolve(false)).listen(base + of, '127.0.0.1', () => server.close(() => resolve(true)));
  })));
  return free.every(Boolean);
}

/** A place for a cluster, which is ended and removed with the test `t`: ports of its own, and a directory called `name`. */
async function place(t, name = 'the state') {
  const directory = await scratch();
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, HEADCOUNT_BIN: binary(), HEADCOUNT_LOCAL_DIR: join(directory, name) };
  // Below the ports that the kernel gives to others.
  const base = await eventually('ports are free', async () => {
    const chosen = 20_300 + 300 * Math.floor(Math.random() * 35);
    return (await isFree(chosen)) && chosen;
  });
  const run = (command, ...args) => {
    const { status, stdout, stderr } = spawnSync(join(REPOSITORY, 'deploy/local', command), args, { env, encoding: 'utf8', timeout: COMMAND_MS });
    return { status, said: stdout + stderr };
  };
  const end = () => run('down', '--wipe');
  process.once('exit', end); // also of a suite that is stopped in its middle
  t.after(async () => {
    end();
    process.off('exit', end);
    await rm(directory, { recursive: true, force: true });
  });
  const state = env.HEADCOUNT_LOCAL_DIR;
  const pid = (name) => Number(readFileSync(join(state, 'run', name), 'utf8').split(' ')[0]);
  return { env, base, state, run, pid, up: (...args) => run('up', '--base-port', String(base), ...args) };
}

/** Whether a process is there and has not only left its exit status. */
function lives(pid) {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : ') Z';
  return !/^\) [ZX]/.test(stat.slice(stat.lastIndexOf(')')));
}

/** Command lines of processes that name the directory `state`. */
function running(state) {
  const line = (pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    } catch {
      return ''; // it has ended meanwhile
    }
  };
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(line).filter((found) => found.includes(state));
}

/** A shell that goes on from block to block, as the reader's does. */
function shell(t, env) {
  const bash = spawn('bash', { env, cwd: REPOSITORY, stdio: ['pipe', 'pipe', 'pipe'] });
  t.after(() => bash.kill('SIGKILL'));
  let said = '';
  for (const stream of [bash.stdout, bash.stderr]) stream.on('data', (text) => (said += text));
  return async (block) => {
    said = '';
    bash.stdin.write(`${block}\necho; echo "ended with $?."\n`);
    await eventually(`it ends: ${block}`, () => /^ended with \d+\.$/m.test(said), COMMAND_MS);
    return said;
  };
}

describe('two regions on one machine', { skip }, () => {
  test('every command of the tour answers as the page lets one expect', async (t) => {
    const { env, base, state } = await place(t, 'state');
    const page = await readFile(join(REPOSITORY, 'deploy/local/README.md'), 'utf8');
    const tour = page.split('## The tour')[1].split('\n## ')[0];
    // Each with what is shown next, if that is an answer.
    const blocks = tour.split('```sh\n').slice(1).map((part) => {
      const [printed, , next = ''] = part.split('```');
      return { printed: printed.trim(), shown: next.startsWith('json\n') ? next.slice('json\n'.length).trim() : null };
    });
    assert.equal(blocks.length, ANSWERS.length, 'a block without an expected answer, or the reverse');
    const type = shell(t, env);
    for (const [index, { printed, shown }] of blocks.entries()) {
      const block = printed
        .replaceAll('deploy/local/state', state)
        .replace('deploy/local/up', `deploy/local/up --base-port ${base}`)
        .replace(/(localhost:|-p )20(\d\d\d)\b/g, (_, before, of) => `${before}${base + Number(of)}`);
      const { says, asks } = ANSWERS[index];
      assert.equal(says === undefined, shown !== null, `either the page shows the answer or the list above has it: ${printed}`);
      let said;
      const isSaid = async () => {
        said = await type(block);
        return says ? says.every((expected) => expected.test(said)) : said === `${shown}\n\nended with 0.\n`;
      };
      if (asks) await eventually(printed, isSaid, CHANGE_MS).catch((error) => assert.fail(`${error.message}\n${said}`));
      else assert.ok(await isSaid(), `${printed}\n${said}`);
    }
  });

  test('what cannot be is refused with the reason, and starts nothing', async (t) => {
    const { env, base, state, run, up } = await place(t);
    for (const command of ['up', 'down', 'status', 'cut', 'heal']) {
      assert.match(run(command, '--help').said, new RegExp(`^usage: ${command}`));
      assert.equal(run(command, '--no-such-thing').status, 64, command);
    }
    for (const port of ['', 'x', '80', '65535', '020000']) assert.equal(run('up', '--base-port', port).status, 64, port);
    for (const command of ['down', 'status', 'cut', 'heal']) assert.match(run(command).said, /there is nothing in .*: start it with/);

    const taken = net.createServer();
    await new Promise((resolve) => taken.listen(base + 150, '127.0.0.1', resolve));
    const { status, said } = up();
    assert.equal(status, 1);
    assert.match(said, new RegExp(`^  port ${base + 150} a/redis-1$`, 'm'));
    assert.deepEqual(readdirSync(state), ['lock'], 'other ports can still be chosen');
    taken.close();

    // One that does not start takes the others with it, and its reason is shown.
    const broken = join(state, '../broken');
    writeFileSync(broken, '#!/bin/sh\necho "no day for it" >&2\nexit 3\n', { mode: 0o700 });
    const failed = spawnSync(join(REPOSITORY, 'deploy/local/up'), ['--base-port', String(base)], {
      env: { ...env, HEADCOUNT_BIN: broken }, encoding: 'utf8', timeout: COMMAND_MS,
    });
    assert.equal(failed.status, 1, failed.stdout + failed.stderr);
    assert.match(failed.stderr, /^a-g1 does not become ready: it does not run\.[^]*^no day for it$/m);
    assert.deepEqual(readdirSync(join(state, 'run')), []);
    assert.deepEqual(running(state), []);

    // Somebody's directory is not taken for ours.
    const other = spawnSync(join(REPOSITORY, 'deploy/local/up'), { env: { ...env, HEADCOUNT_LOCAL_DIR: join(state, '..') }, encoding: 'utf8' });
    assert.match(other.stderr, /holds something else/);
    assert.ok(existsSync(broken));
  });

  test('what ends is shown, a second start is refused, and the end takes all that was started and nothing else', async (t) => {
    const { base, state, run, pid, up } = await place(t);
    const started = up();
    assert.equal(started.status, 0, started.said);
    const pids = NAMES.map(pid);
    assert.equal(new Set(pids).size, PROCESSES);
    assert.ok(pids.every(lives));
    assert.doesNotMatch(started.said, new RegExp(readFileSync(join(state, 'secrets'), 'utf8').trim().replace(/^\w+=/gm, '').replaceAll('\n', '|')), 'no secret is shown');
    assert.match(run('status').said, /^a-c2 +\d+ +ready$/m);

    const again = up();
    assert.equal(again.status, 1);
    assert.match(again.said, /it is up already/);
    assert.deepEqual(NAMES.map(pid), pids);

    const prometheus = async (path) => (await (await fetch(`http://127.0.0.1:${base}/api/v1/${path}`)).json()).data;
    await eventually('Prometheus sees all', async () => (await prometheus('query?query=sum(up)')).result[0]?.value[1] === '11', CHANGE_MS);
    assert.ok((await prometheus('rules')).groups.some(({ rules }) => rules.some(({ name }) => name === 'HeadcountNoLeader')));

    process.kill(pid('a-c2'), 'SIGKILL');
    await eventually('it is gone', () => !lives(pid('a-c2')));
    const { status, said } = run('status');
    assert.equal(status, 1);
    assert.match(said, /^a-c2 +- +gone; its log is /m);
    assert.match(said, /^a-c1 +\d+ +ready$/m);

    // Its number was given to somebody else.
    const stranger = spawn('sleep', ['60']);
    t.after(() => stranger.kill('SIGKILL'));
    const record = join(state, 'run/a-c2');
    writeFileSync(record, readFileSync(record, 'utf8').replace(/^\d+/, stranger.pid));
    // One that stands still does not hear that it is to end.
    process.kill(pid('b-g1'), 'SIGSTOP');

    assert.equal(run('cut', '--one-way').status, 0);
    assert.match(run('status').said, /^link-to-a: cut, what a says does not arrive$/m);
    const ended = run('down');
    assert.equal(ended.status, 0, ended.said);
    assert.deepEqual([...pids.filter(lives), ...running(state)], []);
    assert.deepEqual(readdirSync(join(state, 'run')), []);
    assert.ok(lives(stranger.pid), 'a process that is not ours was ended');
    assert.match(run('status').said, /nothing runs/);
    assert.equal(run('down', '--wipe').status, 0);
    assert.ok(!existsSync(state));
  });

  test('a link holds what it is told to, each way, and loses nothing that both ends wait for', async (t) => {
    const directory = await scratch();
    const state = join(directory, 'link');
    const far = net.createServer();
    await new Promise((resolve) => far.listen(0, '127.0.0.1', resolve));
    // Like every place of the cluster below the kernel's own ports.
    const port = await eventually('a port is free', async () => {
      const chosen = 20_300 + Math.floor(Math.random() * 10_000);
      return (await isFree(chosen)) && chosen;
    });
    writeFileSync(state, 'pass pass');
    const link = spawn(join(REPOSITORY, 'deploy/local/link'), [state, `${port}=${far.address().port}`]);
    t.after(async () => {
      link.kill('SIGKILL');
      far.close();
      await rm(directory, { recursive: true });
    });
    const become = async (words) => {
      writeFileSync(state, words);
      await eventually(words, () => existsSync(`${state}.now`) && readFileSync(`${state}.now`, 'utf8').trim() === words);
    };
    const ends = [];
    const end = (socket) => {
      const one = Object.assign(socket, { heard: '', isOver: false }).on('error', () => {}).on('close', () => (one.isOver = true));
      return one.on('data', (bytes) => (one.heard += bytes));
    };
    far.on('connection', (socket) => ends.push(end(socket)));
    const dial = () => end(net.connect(port, '127.0.0.1'));
    const hears = (one, text) => eventually(`${text} arrives, and not ${one.heard}`, () => one.heard === text);

    await become('pass pass');
    const near = dial();
    const [there] = await eventually('it is connected', () => ends.length > 0 && ends);
    near.write('1');
    there.write('a');
    await Promise.all([hears(there, '1'), hears(near, 'a')]);
    await become('hold pass');
    near.write('2');
    there.write('b');
    await hears(near, 'ab');
    assert.equal(there.heard, '1');
    await become('pass hold');
    await hears(there, '12');
    there.write('c');
    near.write('3');
    await hears(there, '123');
    assert.equal(near.heard, 'ab');
    await become('hold hold');
    const late = dial();
    late.write('late');
    near.write('4');
    await become('pass pass');
    await Promise.all([hears(near, 'abc'), hears(there, '1234')]);
    await hears(await eventually('the late one is connected', () => ends[1]), 'late');
    await become('refuse');
    await eventually('all are over', () => near.isOver && there.isOver && late.isOver);
    const refused = dial();
    await eventually('it is refused', () => refused.isOver);
    assert.equal(ends.length, 2);
    near.destroy();
  });

  test('the commands are without the faults that shellcheck knows', { skip: !isThere('shellcheck') && 'not installed: shellcheck' }, () => {
    const commands = ['up', 'down', 'status', 'cut', 'heal'].map((command) => `deploy/local/${command}`);
    const { status, stdout } = spawnSync('shellcheck', ['--external-sources', ...commands], { cwd: REPOSITORY, encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  });
});
