// `headcount demo` and its page in headless Chromium: regions that part behind a cut and meet again. Screenshots are kept under artifacts/.
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ARTIFACTS, launch, open, PHONE } from './browser.mjs';
import { binary, PATIENCE_MS, Process } from './node.mjs';
import { IN_CLUSTER } from './server.mjs';
import { eventually } from './wait.mjs';

const HEAL_MS = 20_000; // for links to be dialed again, and what was missed to come, while other suites run

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/** The demo on free ports; `page` is where it prints that its page is. */
async function startDemo(t, ...args) {
  const temporary = await mkdtemp(join(tmpdir(), 'headcount-demo-test-'));
  const demo = new Process(binary(), ['demo', '--port', '0', ...args], { TMPDIR: temporary });
  t.after(async () => {
    await demo.stop('SIGKILL');
    await rm(temporary, { recursive: true, force: true });
  });
  const page = await eventually('the demo says where its page is', () => {
    if (demo.ended !== null) throw new Error(`the demo ended with ${demo.ended}:\n${demo.log}`);
    return /^ {2}(http:\S+)\/$/m.exec(demo.log)?.[1];
  }, PATIENCE_MS);
  return Object.assign(demo, { page, temporary });
}

const state = async (demo) => (await fetch(`${demo.page}/demo/state`)).json();
const link = async (demo, name) => (await state(demo)).links.find(({ regions }) => regions.join('–') === name);
const order = (demo, a, b, body) => fetch(`${demo.page}/demo/links/${a}/${b}`, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

const region = (page, name) => page.locator(`article[data-region=${name}]`);
const like = (page, name) => page.getByRole('button', { name: `Like in ${name}`, exact: true }).click();
const value = (page, name) => region(page, name).locator('.likes .number').getAttribute('data-value');
const values = (page, ...expected) => eventually(`eu, us, ap count ${expected}`, async () => String(await Promise.all(['eu', 'us', 'ap'].map((name) => value(page, name)))) === String(expected), HEAL_MS);
const entries = (page, name) => region(page, name).locator('.entries li').evaluateAll((rows) => rows.map((row) => `${row.dataset.key} ${row.querySelector('.amount').textContent}`));
const roster = (page, name) => region(page, name).locator('.people li').evaluateAll((tiles) => tiles.map((tile) => [...tile.children].slice(1).map(({ textContent }) => textContent).join(': ')).sort());
const sees = (page, name, ...people) => eventually(`in ${name}: ${people}`, async () => String(await roster(page, name)) === String(people.sort()), HEAL_MS);
const messages = (page, name) => region(page, name).locator('.log .text').allTextContents();
const says = async (page, name, text) => {
  await page.getByLabel(`Your message in ${name}`).fill(text);
  await page.getByRole('button', { name: `Send in ${name}` }).click();
};
const reads = (page, name, ...texts) => eventually(`${name} reads ${texts}`, async () => String((await messages(page, name)).sort()) === String(texts.sort()), HEAL_MS);
const left = (page, name) => region(page, name).locator('.tickets .number').getAttribute('data-value');
const leaves = (page, expected, ...names) => eventually(`${names} have ${expected} tickets left`, async () => (await Promise.all(names.map((name) => left(page, name)))).every((found) => found === expected), HEAL_MS);
const buy = (page, name, times = 1) => page.getByRole('button', { name: `Buy a ticket in ${name}`, exact: true }).evaluate((button, count) => { for (let press = 0; press < count; press += 1) button.click(); }, times);
const isTold = (page, name, text) => region(page, name).locator('.tickets .said', { hasText: text }).waitFor();
/** Tickets that each region has sold, as it knows it of itself. */
const sold = async (demo) => Object.fromEntries(await Promise.all((await state(demo)).regions.map(async ({ name, client }) => {
  const { replicas } = await (await fetch(`${client}/v1/counters/stock:tickets?detail=replicas`)).json();
  return [name, replicas[`${name}/n1`]?.decrements ?? 0];
})));
const verdicts = (page) => page.locator('#verdicts .mark').allTextContents();
const judged = (page, ...expected) => eventually(`it is said: ${expected}`, async () => String(await verdicts(page)) === String(expected), HEAL_MS);
const shot = async (page, name) => {
  await page.waitForTimeout(700); // for what moves to have arrived
  await page.screenshot({ path: join(ARTIFACTS, `demo-${name}.png`), fullPage: true });
};

/** The page, with everybody named and seen by everybody. */
async function visit(t, demo, options) {
  const page = await open(t, browser, demo.page, options);
  for (const [name, person] of [['eu', 'Ann'], ['us', 'Bob'], ['ap', 'Chi']]) {
    await region(page, name).locator('.pill[data-state=connected]').waitFor();
    await page.getByLabel(`Name of the person in ${name}`).fill(person);
    await page.keyboard.press('Enter');
  }
  await sees(page, 'eu', 'Ann: eu, you', 'Bob: us', 'Chi: ap');
  await sees(page, 'us', 'Ann: eu', 'Bob: us, you', 'Chi: ap');
  await sees(page, 'ap', 'Ann: eu', 'Bob: us', 'Chi: ap, you');
  return page;
}

describe('the demo of several regions', { skip: IN_CLUSTER && 'it has regions of its own, and has been run' }, () => {
  test('a region that is cut off counts, chats and sees on by itself, and all are equal after healing', async (t) => {
    const demo = await startDemo(t);
    const page = await visit(t, demo, { viewport: { width: 1280, height: 1310 } });
    await like(page, 'eu');
    await like(page, 'us');
    await says(page, 'eu', 'Good morning from Lisbon');
    await values(page, 2, 2, 2);
    for (const name of ['eu', 'us', 'ap']) await reads(page, name, 'Good morning from Lisbon');
    await judged(page, '✓ Likes equal', '✓ Rosters equal', '✓ Messages equal');
    await shot(page, 'together');

    await page.getByRole('button', { name: /^Cut off ap/ }).click();
    await page.waitForSelector('body[data-state=cut]');
    assert.deepEqual((await state(demo)).links.map(({ up }) => up), [true, false, false]);
    for (const name of ['eu', 'us', 'ap', 'ap', 'ap']) await like(page, name);
    await says(page, 'us', 'We lost Singapore');
    await says(page, 'ap', 'Is anybody there?');
    await values(page, 4, 4, 5);
    await eventually('eu knows no new likes of ap', async () => String(await entries(page, 'eu')) === 'eu 2,us 2,ap 0');
    await eventually('ap knows its own', async () => String(await entries(page, 'ap')) === 'eu 1,us 1,ap 3');
    await sees(page, 'eu', 'Ann: eu, you', 'Bob: us', 'Chi: ap, stale');
    await sees(page, 'ap', 'Ann: eu, stale', 'Bob: us, stale', 'Chi: ap, you');
    await region(page, 'us').getByText('▲ ap stale').waitFor();
    await region(page, 'eu').getByText(', may be old').waitFor();
    for (const name of ['eu', 'us']) await reads(page, name, 'Good morning from Lisbon', 'We lost Singapore');
    await reads(page, 'ap', 'Good morning from Lisbon', 'Is anybody there?');
    await judged(page, '▲ Likes differ', '▲ Rosters differ', '▲ Messages differ');
    await region(page, 'ap').locator('.entries .old').first().waitFor();
    await shot(page, 'apart');

    await page.getByRole('button', { name: 'Heal all links' }).click();
    await values(page, 7, 7, 7);
    await sees(page, 'eu', 'Ann: eu, you', 'Bob: us', 'Chi: ap');
    await sees(page, 'us', 'Ann: eu', 'Bob: us, you', 'Chi: ap');
    await sees(page, 'ap', 'Ann: eu', 'Bob: us', 'Chi: ap, you');
    for (const name of ['eu', 'us', 'ap']) await reads(page, name, 'Good morning from Lisbon', 'Is anybody there?', 'We lost Singapore');
    for (const name of ['eu', 'us', 'ap']) await eventually(`the entries of ${name}`, async () => String(await entries(page, name)) === 'eu 2,us 2,ap 3');
    await judged(page, '✓ Likes equal', '✓ Rosters equal', '✓ Messages equal');
    await page.locator('#status', { hasText: /Equal again: Likes after [\d.]+ s, / }).waitFor({ state: 'attached' });
    assert.equal(await page.locator('#verdicts li', { hasText: /[\d.]+ s after healing/ }).count(), 3);
    await shot(page, 'together-again');

    // The page may talk to the regions and to nobody else; and other programs may as well.
    const { regions } = await state(demo);
    const clients = regions.map(({ client }) => `${client} ${client.replace('http', 'ws')}`).join(' ');
    const policy = (await fetch(demo.page)).headers.get('content-security-policy');
    assert.ok(policy.startsWith(`default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ${clients}; `), policy);
    const answer = await fetch(`${regions[2].client}/v1/counters/likes/add`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"by": 3}' });
    assert.equal((await answer.json()).value, 10);
    await values(page, 10, 10, 10);
    await demo.stop('SIGINT');
    assert.equal(demo.ended, 0, demo.log);
    assert.deepEqual(await readdir(demo.temporary), [], 'nothing is left behind');
    await page.getByRole('alert').filter({ hasText: 'The demo does not answer' }).waitFor();
  });

  test('links are delayed and cut by keys alone, by other programs too, on a phone as well', async (t) => {
    const demo = await startDemo(t);
    const page = await visit(t, demo, { ...PHONE, colorScheme: 'dark' });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
    for (const name of ['eu–us', 'eu–ap', 'us–ap']) {
      await page.getByRole('slider', { name: `Delay of ${name}` }).focus();
      await page.keyboard.press('End');
      await eventually('the link is slow', async () => (await link(demo, name)).delay_ms === 500);
    }
    await like(page, 'eu');
    await values(page, 1, 1, 1);
    await eventually('it is said how long the like took', async () => {
      const took = /^Latest like: eu → us (\d+) (m?s), ap (\d+) (m?s)$/.exec(await page.locator('#lags').textContent());
      if (!took) return false;
      const [us, ap] = [[took[1], took[2]], [took[3], took[4]]].map(([number, unit]) => number * (unit === 's' ? 1_000 : 1));
      assert.ok(us >= 500 && ap >= 500, `${us} ms and ${ap} ms, over links that take 500`);
      return true;
    }, HEAL_MS);

    await page.getByRole('button', { name: /^Link eu–us: up/ }).press('Enter');
    await eventually('the link is cut', async () => !(await link(demo, 'eu–us')).up);
    // Likes find their way around, what a region alone tells of itself does not.
    await like(page, 'us');
    await values(page, 2, 2, 2);
    await sees(page, 'eu', 'Ann: eu, you', 'Bob: us, stale', 'Chi: ap');
    await sees(page, 'ap', 'Ann: eu', 'Bob: us', 'Chi: ap, you');
    await judged(page, '✓ Likes equal', '▲ Rosters differ', '✓ Messages equal');
    await shot(page, 'phone-dark');

    assert.equal((await order(demo, 'eu', 'us', { up: true, delay_ms: 0, loss_percent: 10 })).status, 200);
    await page.getByRole('button', { name: 'Cut the link eu–us' }).waitFor();
    await eventually('the page shows the loss', async () => (await page.getByRole('slider', { name: 'Loss of eu–us' }).inputValue()) === '10');
    await sees(page, 'eu', 'Ann: eu, you', 'Bob: us', 'Chi: ap');
    assert.equal((await order(demo, 'eu', 'us', { delay_ms: 501 })).status, 400);
  });

  test('two regions sell exactly the tickets that there are, whatever is pressed, also while the link between them is cut', async (t) => {
    const demo = await startDemo(t, '--regions', '2');
    const page = await open(t, browser, demo.page);
    await leaves(page, '20', 'eu', 'us');
    await buy(page, 'eu', 2);
    await leaves(page, '18', 'eu', 'us');

    // All of them are in the region where they were put on sale, as long as nobody has asked for any elsewhere.
    await page.getByRole('button', { name: /^Link eu–us: up/ }).click();
    for (const name of ['eu', 'us']) await region(page, name).getByText('stale', { exact: false }).first().waitFor();
    await buy(page, 'us');
    await isTold(page, 'us', 'None to be had here: 18 elsewhere. Heal the links, or buy there.');
    assert.deepEqual(await sold(demo), { eu: 2, us: 0 });
    await page.getByRole('button', { name: 'Heal all links' }).click();
    await eventually('us has bought one', async () => {
      await buy(page, 'us');
      return (await sold(demo)).us > 0;
    }, HEAL_MS);

    // More is pressed than there is, in both at once, and neither hears of the other.
    await page.waitForSelector('body[data-state=equal]');
    await page.getByRole('button', { name: /^Link eu–us: up/ }).click();
    await page.waitForSelector('body[data-state=cut]');
    const before = await sold(demo);
    for (const name of ['eu', 'us']) await buy(page, name, 20);
    for (const name of ['eu', 'us']) await isTold(page, name, /^(None to be had here|Sold out)/);
    // Where those are that were left depends on how often us was pressed for its first one: all may have gone there, or be on their way.
    const apart = await sold(demo);
    const sum = apart.eu + apart.us;
    assert.ok(sum > before.eu + before.us && sum <= 20, JSON.stringify(apart));
    await shot(page, 'tickets-apart');
    await page.getByRole('button', { name: 'Heal all links' }).click();
    await eventually('all are sold', async () => {
      for (const name of ['eu', 'us']) await buy(page, name);
      const { eu, us } = await sold(demo);
      assert.ok(eu + us <= 20, `${eu} and ${us}`);
      return eu + us === 20;
    }, HEAL_MS);
    await leaves(page, '0', 'eu', 'us');
    for (const name of ['eu', 'us']) {
      await buy(page, name);
      await isTold(page, name, 'Sold out.');
    }
    const { eu, us } = await sold(demo);
    assert.equal(eu + us, 20);
    await page.getByText(`Tickets: 20 put on sale, 20 sold: eu ${eu}, us ${us}`).waitFor();
    assert.equal(await region(page, 'us').locator('.tickets .sold').textContent(), `Sold here: ${us}`);

    await page.getByRole('button', { name: 'Put 20 more tickets on sale in us' }).click();
    await leaves(page, '20', 'eu', 'us');
    await buy(page, 'us');
    await leaves(page, '19', 'eu', 'us');
  });

  test('two regions stand side by side as well, and five', async (t) => {
    for (const [count, names] of [['2', ['eu', 'us']], ['5', ['eu', 'us', 'ap', 'sa', 'af']]]) {
      const demo = await startDemo(t, '--regions', count);
      const page = await open(t, browser, demo.page);
      await eventually(`all ${count} are equal`, async () => (await page.locator('body').getAttribute('data-state')) === 'equal' && (await roster(page, names.at(-1))).length === names.length, HEAL_MS);
      await page.getByRole('button', { name: 'Like 100× everywhere' }).click();
      await eventually('all count the same', async () => new Set(await Promise.all(names.map((name) => value(page, name)))).size === 1 && Number((await value(page, 'us')).replace(',', '')) >= 50 * names.length, HEAL_MS);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 1280);
      assert.ok(await page.evaluate(() => [...document.querySelectorAll('.region > *')].every((part) => part.scrollWidth <= part.clientWidth)), 'nothing is cut off at the side');
      await shot(page, `${count}-regions`);
      await demo.stop('SIGKILL');
    }
  });
});
