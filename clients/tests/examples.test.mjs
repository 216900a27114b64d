// The examples do what they say, against the real node.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { REPOSITORY, startNode } from './server.mjs';

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
