// The operations page in headless Chromium, of real gateways in a real region. Screenshots are kept under artifacts/.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ARTIFACTS, launch, open, PHONE } from './browser.mjs';
import { startRegion, startRegions } from './operated.mjs';
import { enter } from './people.mjs';
import { sdk, TRANSPORTS } from './sdk.mjs';
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
const heard = (page, id) => eventually(`the canary of ${id} is drawn`, async () => /L/.test(await card(page, id).locator('.value').getAttribute('d')));
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

/** People in their rooms, until the test ends. */
async function populate(t, node, people) {
  const clients = [];
  for (const [user, channels] of Object.entries(people)) {
    const { token: pass } = await node.call('POST', '/v1/development/token', { user });
    const client = sdk(t, TRANSPORTS[0], node, { token: pass });
    client.connect();
    for (const channel of channels) await enter(client, channel);
    clients.push(client);
  }
  return clients;
}

/** Messages and likes, until the test ends. */
function stir(t, node) {
  let turn = 0;
  const ticks = setInterval(() => {
    turn += 1;
    node.publish('chat:stage', { turn }).catch(() => {});
    const ops = [...Array(9)].map((_, at) => ({ key: at < 6 ? 'likes:stage' : `likes:${turn % 7}` }));
    node.call('POST', '/v1/counters/batch', { ops }).catch(() => {});
  }, 50);
  t.after(() => clearInterval(ticks));
}

const region = (page, name) => page.locator('.region', { has: page.locator('b', { hasText: new RegExp(`^${name}`) }) });
const flow = (page, name) => page.locator(`.flow[data-key=${name}] b`).textContent();
const isDrawn = async (line) => /L/.test(await line.locator('.value').getAttribute('d'));
const overflows = (page) => page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);

test('traffic, regions, hot counters and large rooms are seen live, and what a cut between regions does to them', { skip: IN_CLUSTER && 'it is about regions of its own' }, async (t) => {
  const { nodes: [eu, us], wires } = await startRegions(t);
  await populate(t, eu, { ann: ['chat:stage', 'lobby'], ben: ['chat:stage', 'lobby'], cat: ['chat:stage'], dan: ['chat:stage'], eve: ['chat:foyer'] });
  await populate(t, us, { zoe: ['chat:stage'], yan: ['chat:stage'], xia: ['chat:foyer'] });
  [eu, us].forEach((node) => stir(t, node));
  const page = await operations(t, eu);
  const phone = await operations(t, us, { ...PHONE, colorScheme: 'dark' });

  for (const [one, own, other] of [[page, 'eu', 'us'], [phone, 'us', 'eu']]) {
    await region(one, own).getByText('(this one)').waitFor();
    await region(one, other).getByText('✓ live').waitFor();
    await one.getByText('✓ All is well.').waitFor();
    for (const line of await region(one, other).locator('.line').all()) await eventually('it is drawn', () => isDrawn(line));
    assert.deepEqual(await region(one, other).locator('.heard .soft').allTextContents(), [`Gateways of ${other}`, `Counters of ${other}/n1`]);
  }
  await region(page, 'eu').getByText('5 users with 5 clients online').waitFor();
  await region(page, 'us').getByText('3 users with 3 clients online').waitFor();
  await region(phone, 'eu').getByText('5 users with 5 clients online').waitFor();

  assert.equal(await flow(page, 'Connections'), '5');
  for (const name of ['Commands', 'Publications', 'Messages', 'Bytes', 'Likes']) await eventually(`${name} are drawn`, () => isDrawn(page.locator(`.flow[data-key=${name}]`)));
  await eventually('likes are counted', async () => Number(await flow(page, 'Likes')) > 0);
  const rows = (one, id) => one.locator(`#${id} .ranking li`);
  await eventually('the hottest counter comes first', async () => /^likes:stage\d+ additions/.test(await rows(page, 'hot').first().textContent().catch(() => '')));
  assert.match(await rows(page, 'hot').first().textContent(), /value \d/);
  assert.equal(await rows(page, 'rooms').first().textContent(), 'chat:stage4 clients4 users');
  assert.deepEqual(await rows(page, 'rooms').locator('b').allTextContents(), ['chat:stage', 'lobby', 'chat:foyer']);
  await shot(page, 'regions-desktop-light');
  await shot(phone, 'regions-phone-dark');
  for (const one of [page, phone]) assert.ok((await overflows(one)) <= 0);
  for (const [one, name, colorScheme] of [[page, 'desktop-dark', 'dark'], [phone, 'phone-light', 'light']]) {
    await one.emulateMedia({ colorScheme });
    await shot(one, `regions-${name}`);
  }

  wires.forEach((wire) => wire.cut());
  await region(page, 'us').getByText('▲ stale').waitFor({ timeout: CHANGE_MS });
  await region(page, 'us').getByText(/3 users with 3 clients online, as of/).waitFor({ timeout: CHANGE_MS });
  await page.locator('#troubles li', { hasText: /^The region us is stale \(.*\)\.$/ }).waitFor();
  await page.locator('#troubles li', { hasText: 'Counters of us/n1 are silent.' }).waitFor();
  assert.notEqual(await region(page, 'us').locator('.why').textContent(), '', 'why it is not reached');
  await shot(page, 'region-cut');
  assert.ok((await overflows(phone)) <= 0);
  wires.forEach((wire) => wire.mend());
  await region(page, 'us').getByText('✓ live').waitFor({ timeout: CHANGE_MS });
  await page.getByText('✓ All is well.').waitFor({ timeout: CHANGE_MS });
});

test('a gateway that drains says so, and whom it waits for', async (t) => {
  const { gateways: [node] } = await startRegion(t, { redis: 1, gateways: 1, config: { 'shutdown.drain_s': 60, 'presence.grace_s': 30 } });
  const [ann] = await populate(t, node, { ann: ['lobby'], ben: ['lobby'] });
  const page = await operations(t, node);
  await eventually('the rooms are counted', async () => (await page.locator('#rooms .ranking li').allTextContents()).join() === 'lobby2 clientsat this gateway');
  const ended = node.stop('SIGTERM');
  await page.locator('#readiness .mark', { hasText: '▲ draining' }).first().waitFor();
  // One goes for good; the other one may still come back to any gateway.
  ann.disconnect();
  await page.getByText(/Its clients are being sent elsewhere; then it ends\. Left: \d+ clients?, and [1-9]\d* members? of rooms who may still come back unnoticed\./).waitFor();
  await shot(page, 'draining');
  await node.stop('SIGTERM');
  await ended;
});
