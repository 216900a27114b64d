// The commands of the README's tour, run as they are printed; only the ports differ.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { REPOSITORY, startNode } from './server.mjs';

/** What each command of the tour must answer, in its order. */
const ANSWERS = [
  /"value":3\b/, // POST add
  /"value":3\b/, // GET
  /^5$/m, // INCRBY by a Redis client
  /"offset":1\b/, // POST message
  /"text": ?"hello"/, // history
  /"num_users":0\b/, // stats
  /event: counter\ndata: .*"value":5\b/, // live
];

test('every command of the tour answers as the README lets one expect', async (t) => {
  const node = await startNode(t);
  const readme = await readFile(`${REPOSITORY}/README.md`, 'utf8');
  const tour = readme.split('## Five minutes')[1].split('```')[1];
  const commands = tour.split('\n').filter((line) => /^(curl|redis-cli) /.test(line));
  assert.equal(commands.length, ANSWERS.length, 'a command without an expected answer, or the reverse');
  for (const [index, printed] of commands.entries()) {
    const command = printed
      .replace('localhost:8000', node.listen.client)
      .replace('-p 6380', `-p ${node.listen.resp.split(':')[1]}`)
      .replace('curl -N', 'curl -sN --max-time 2');
    const { stdout, stderr } = spawnSync('bash', ['-c', command], { encoding: 'utf8' });
    assert.match(stdout, ANSWERS[index], `${printed}\n${stdout}${stderr}`);
  }
});
