// The operations page in headless Chromium, of real gateways in a real region. Screenshots are kept under artifacts/.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ARTIFACTS, launch, open, PHONE } from './browser.mjs';
import { startRegion } from './operated.mjs';
import { IN_CLUSTER, startNode } from './server.mjs';
import { eventually } from './wait.mjs';

const CHANGE_MS = 30_000; // a change of the ring, or the loss of a node

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/** The operations page of a node, once it has shown something. */
async function operations(t, node, options) {
  const page = await open(t, browser, `http://${node.listen.admin}/ops`, options);
  await page.waitForSelector('body[data-state=live]');
  return page;
}

const arcs = (page) => page.locator('.arc').evaluateAll((paths) => paths.map((path) => path.dataset.key));
const card = (page, id) => page.locator('.node', { has: page.locator('b', { hasText: new RegExp(`^${id}$`) }) });
const gateways = (page) => page.locator('#gateways tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].slice(0, 3).map((cell) => cell.textContent)));
const epoch = async (page) => Number(await page.locator('.picture .epoch').textContent());
const details = (page) => page.locator('.details > div').evaluateAll((rows) => Object.fromEntries(rows.map((row) => [row.dataset.key, row.lastChild.textContent])));
const heard = (page, id) => eventually(`the canary of ${id} is drawn`, async () => /L/.test(await card(page, id).locator('.lag').getAttribute('d')));
/** Taps an arc where it is; the middle of its box may lie in the hole of the ring. */
async function tap(page, id) {
  const arc = page.locator(`.arc[data-key=${id}]`);
  await arc.scrollIntoViewIfNeeded();
  const { x, y } = await arc.evaluate((path) => {
    const box = path.getBBox();
    for (let step = 0; step < 100; step += 1) {
      const point = new DOMPoint(box.x + (box.width * (step % 10)) / 10, box.y + (box.height * Math.floor(step / 10)) / 10);
      if (path.isPointInFill(point)) return point.matrixTransform(path.getScreenCTM());
    }
  });
  await page.touchscreen.tap(x, y);
}
const rest = (page) => page.waitForTimeout(1_000); // for the picture to have turned
const shot = async (page, name) => (await rest(page), page.screenshot({ path: join(ARTIFACTS, `ops-${name}.png`), fullPage: true }));

test('the ring is seen, changes as nodes are added, and tells which node is lost, drained or well', async (t) => {
  const region = await startRegion(t, { redis: 3, gateways: 2 });
  const page = await operations(t, region.gateways[0]);
  const night = await operations(t, region.gateways[1], { ...PHONE, colorScheme: 'dark' });
  for (const one of [page, night]) {
    await eventually('three arcs', async () => String(await arcs(one)) === 'redis-0,redis-1,redis-2');
    await one.getByText('✓ All is well.').waitFor({ timeout: CHANGE_MS });
    for (const id of ['redis-0', 'redis-1', 'redis-2']) await heard(one, id);
  }
  const first = await epoch(page);
  await eventually('both gateways are there', async () => String(await gateways(page)) === `g0 (this one),${first},✓ done,g1,${first},✓ done`);
  assert.deepEqual((await gateways(night)).map(([name]) => name), ['g0', 'g1 (this one)']);
  assert.match(await page.locator('#ring .words .lead').textContent(), /ring is from etcd.*It stands in etcd/s);

  // By keys alone: Tab leads to the first arc, arrows to the next ones.
  await page.locator('body').press('Tab');
  await page.keyboard.press('ArrowRight');
  assert.equal((await details(page)).Node, 'redis-1');
  assert.match((await details(page)).Slots, /^\d,\d{3} \(\d\d\.\d %\)$/);
  assert.equal((await details(page)).Address, region.redis.get('redis-1').url);
  assert.equal((await details(page)).Votes, 'nobody says that it is down');
  await shot(page, 'desktop-light');
  await tap(night, 'redis-2');
  await eventually('it is chosen', async () => (await details(night)).Node === 'redis-2');
  await shot(night, 'phone-dark');
  assert.equal(await night.evaluate(() => document.documentElement.scrollWidth), 390);

  // What is seen of a change while it goes on; every phase would take luck to see.
  await page.evaluate(() => {
    window.phases = new Set();
    const look = () => window.phases.add(document.querySelector('.steps [aria-current]').textContent + (document.querySelector('.other') ? ' with another ring' : ''));
    new MutationObserver(look).observe(document.querySelector('.steps'), { subtree: true, attributes: true });
  });
  await region.startRedis('redis-3');
  await region.ring('add', 'redis-3', region.redis.get('redis-3').url, '--force');
  for (const one of [page, night]) await eventually('four arcs', async () => String(await arcs(one)) === 'redis-0,redis-1,redis-2,redis-3', CHANGE_MS);
  await eventually('the change is over', async () => (await epoch(page)) === first + 4, CHANGE_MS);
  const phases = await page.evaluate(() => [...window.phases]);
  assert.ok(phases.some((phase) => /^(prepare|fence|switch) with another ring$/.test(phase)), String(phases));
  await eventually('both gateways have followed', async () => (await gateways(page)).every(([, at, part]) => at === `${first + 4}` && part === '✓ done'));
  assert.match(await page.locator('.wish').textContent(), new RegExp(`was done by epoch ${first + 4}`));

  await region.killRedis('redis-1');
  await page.locator('#troubles li', { hasText: 'redis-1 is down and out of use; its slots are with the others' }).waitFor({ timeout: CHANGE_MS });
  await eventually('it has no arc', async () => String(await arcs(page)) === 'redis-0,redis-2,redis-3', CHANGE_MS);
  assert.equal(await card(page, 'redis-1').locator('.mark').textContent(), '✕ down');
  assert.match(await card(page, 'redis-1').locator('.why').textContent(), /connection refused/);
  assert.equal((await details(page)).Canary, 'not heard');
  assert.match((await details(page)).Votes, /of 2 gateways cannot use it\. .*connection refused/);
  await page.getByText('Without slots: redis-1 (down).').waitFor();
  await shot(page, 'node-lost');

  await eventually('the ring is stable', async () => (await page.locator('.steps [aria-current]').textContent()) === 'stable', CHANGE_MS);
  await region.ring('drain', 'redis-0', '--force');
  await page.locator('#troubles li', { hasText: 'redis-0 is drained' }).waitFor();
  assert.equal(await card(page, 'redis-0').locator('.mark').textContent(), '▲ drained');
});

test('a gateway that another one has left behind is marked, and one that is silent is told', async (t) => {
  const region = await startRegion(t, { redis: 1, gateways: 2 });
  const page = await operations(t, region.gateways[0]);
  await eventually('both gateways', async () => (await gateways(page)).length === 2);
  region.gateways[1].pause();
  await region.startRedis('redis-1');
  const adding = region.ring('add', 'redis-1', region.redis.get('redis-1').url, '--force', '--wait', '0');
  await page.getByText('g1 is waited for.').waitFor();
  await eventually('it is marked', async () => /^▲ \d+, 1 behind$/.test((await gateways(page))[1][1]));
  assert.match((await gateways(page))[1][2], /^▲ waited for/);
  assert.equal(await page.locator('.steps [aria-current]').textContent(), 'prepare');
  await shot(page, 'gateway-behind');
  await adding;

  await region.gateways[0].stop('SIGKILL');
  const alert = page.getByRole('alert');
  await alert.filter({ hasText: /has not answered since .*it cannot be reached/ }).waitFor();
  assert.equal(await page.locator('#pill-text').textContent(), 'No answer');
  assert.equal(await page.locator('.arc').count(), 1, 'what was known is still shown');
  await shot(page, 'silent');
  await region.gateways[0].start(region.gateways[0].listen);
  await page.waitForSelector('body[data-state=live]');
  assert.equal(await alert.count(), 0);
});

test('a node alone says so in one sentence, and asks nobody but itself', { skip: IN_CLUSTER && 'it is about one process' }, async (t) => {
  const node = await startNode(t);
  const page = await operations(t, node, { viewport: { width: 320, height: 568 } });
  await page.getByText('This node stands alone: it keeps all channels itself').waitFor();
  await page.getByText('✓ All is well.').waitFor();
  assert.equal(await page.locator('.arc').count(), 0);
  assert.equal(await page.locator('#gateways').isVisible(), false);
  assert.equal(await page.locator('#readiness .checks b').first().textContent(), 'counters');
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  await shot(page, 'alone');
  const answer = await fetch(`http://${node.listen.admin}/ops`);
  assert.match(answer.headers.get('content-security-policy'), /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';/);
  const plain = await browser.newPage();
  t.after(() => plain.close());
  await plain.goto(`http://${node.listen.admin}/ops`);
  const blocked = await plain.evaluate(() => new Promise((done) => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => done(violatedDirective), { once: true });
    fetch('http://127.0.0.1:9/').catch(() => {});
  }));
  assert.equal(blocked, 'connect-src');
});
