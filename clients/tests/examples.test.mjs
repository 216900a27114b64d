// The examples do what they say, against the real node.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import WebSocket from 'ws';
import { Process } from './node.mjs';
import { REPOSITORY, startNode } from './server.mjs';
import { eventually } from './wait.mjs';

const EXAMPLES = join(REPOSITORY, 'clients/examples');
const run = async (command, args, url) => (await promisify(execFile)(command, args, { env: { ...process.env, HEADCOUNT_URL: url }, timeout: 20_000 })).stdout;

let node;
before(async () => {
  node = await startNode();
});
after(() => node?.dispose());

/** Runs an example with the packages of this suite. */
async function javascript(t, file) {
  const folder = await mkdtemp(fileURLToPath(new URL('node_modules/.example-', import.meta.url)));
  t.after(() => rm(folder, { recursive: true }));
  await copyFile(join(EXAMPLES, 'javascript', file), join(folder, file));
  return run(process.execPath, [join(folder, file)], node.ws);
}

test('JavaScript', async (t) => {
  const said = await javascript(t, 'main.mjs');
  for (const line of [/^connected as client \S+$/m, /^message \d+ from \S+: \{ text: 'hello from JavaScript' \}$/m, /^after my like: \d+$/m, /^disconnected: /m]) {
    assert.match(said, line);
  }
});

test('JavaScript without an SDK', async (t) => {
  const said = await javascript(t, 'events.mjs');
  for (const line of [/^open$/m, /^counter .*"key":"likes"/m, /^published: 200/m, /^message \S+: .*hello from EventSource/m]) assert.match(said, line);
});

test('curl', async () => {
  const said = await run('sh', [join(EXAMPLES, 'curl.sh')], node.http);
  assert.match(said, /hello from curl/);
  const values = [...said.matchAll(/"value":(\d+)/g)].map(([, value]) => value);
  assert.equal(values[0], values[1], 'adding again with the same token counted nothing');
});

test('Python', async () => {
  const said = await run(process.env.HEADCOUNT_PYTHON ?? 'python3', [join(EXAMPLES, 'python/main.py')], node.ws);
  for (const line of [/^message \d+ \{'text': 'hello from Python'\}$/m, /^after my like: \d+$/m]) assert.match(said, line);
});

// A region that has just begun tells services when it is sure that everybody is there: a lease's life later.
const TOLD_MS = 60_000;
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
for (const [name, program, file] of [
  ['Python', process.env.HEADCOUNT_PYTHON ?? 'python3', 'python/webhooks.py'],
  ['JavaScript', process.execPath, 'javascript/webhooks.mjs'],
]) {
  test(`webhooks, ${name}`, async (t) => {
    const receiver = new Process(program, [join(EXAMPLES, file)], { ...process.env, WEBHOOK_SECRET: SECRET, PORT: '0' });
    t.after(() => receiver.stop('SIGKILL'));
    const url = await eventually(`it listens: ${receiver.log}`, () => receiver.log.match(/^listening on (\S+)$/m)?.[1]);
    const told = await startNode(t, { 'webhooks.url': url, 'webhooks.secrets': [SECRET] });
    const socket = new WebSocket(`${told.ws}/connection/websocket`);
    socket.addEventListener('message', ({ data }) => data === '{}' && socket.send('{}'));
    await new Promise((resolve) => socket.addEventListener('open', resolve));
    socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"lobby"}}');
    await eventually('somebody came', () => /^occupied lobby$/m.test(receiver.log), TOLD_MS);
    socket.send('{"id":3,"unsubscribe":{"channel":"lobby"}}');
    await eventually('and went', () => /^vacated lobby$/m.test(receiver.log), TOLD_MS);
    socket.close();

    const forged = { events: [{ id: 'x', type: 'occupied', channel: 'forged' }] };
    const headers = { 'webhook-id': 'msg_x', 'webhook-timestamp': String(Math.floor(Date.now() / 1000)), 'webhook-signature': 'v1,x v1,' };
    assert.equal((await fetch(url, { method: 'POST', headers, body: JSON.stringify(forged) })).status, 401);
    assert.ok(!receiver.log.includes('forged'));
  });
}
