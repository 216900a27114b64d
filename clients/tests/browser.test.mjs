// The demo page in headless Chromium, served by the real node. Screenshots are kept under artifacts/.
import assert from 'node:assert/strict';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ARTIFACTS, launch, open, PHONE } from './browser.mjs';
import { startRegion } from './operated.mjs';
import { GUARDED, layWire, startNode, token } from './server.mjs';
import { eventually } from './wait.mjs';

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/** A person's page. */
async function visit(t, base, { user, path = user ? `/?user=${user}` : '/', isLost = false, ...options } = {}) {
  const page = await open(t, browser, base.http + path, options);
  if (!isLost) await connected(page);
  return page;
}

const connected = (page) => page.waitForSelector('#pill[data-state=connected]');
const disconnected = (page) => page.waitForSelector('#pill:not([data-state=connected])');
const people = (page) => page.locator('#people > li:not(.leaving)').evaluateAll((tiles) => tiles.map((tile) => tile.dataset.user).sort());
const sees = (page, ...users) => eventually(`the roster is ${users}`, async () => String(await people(page)) === String(users.sort()));
const messages = (page) => page.locator('#log .line:not(.waiting) .text').allTextContents();
const hears = (page, text) => page.locator('#log .line:not(.waiting) .text', { hasText: text }).waitFor();
const likes = (page) => page.locator('#likes').getAttribute('data-value');
const shows = (page, value) => eventually(`${value} likes`, async () => (await likes(page)) === value);
const say = async (page, text) => {
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
};
const heart = (page) => page.getByRole('button', { name: /^Like this room/ });
const like = (page) => heart(page).click();
const isLiked = (page, is) => eventually(`the heart is ${is}`, async () => (await heart(page).getAttribute('aria-pressed')) === String(is));
const song = (page, title) => page.getByRole('button', { name: `Like ${title}` });
const songs = (page) => page.locator('#songs > li').evaluateAll((rows) => rows.map((row) => `${row.querySelector('b').textContent} ${row.querySelector('.amount').textContent}`));
const ranks = async (page, ...expected) => {
  let found;
  await eventually(`the songs are ${expected}`, async () => String((found = await songs(page))) === String(expected)).catch((error) => {
    throw new Error(`${error.message}; they are ${found}`);
  });
};
const choose = async (page, button) => {
  await page.locator('#me').click();
  await page.getByRole('button', { name: button }).click();
};

test('two people see each other come, chat, like and go', async (t) => {
  const node = await startNode(t);
  const [ann, bob] = [await visit(t, node, { user: 'ann' }), await visit(t, node, { user: 'bob' })];
  for (const page of [ann, bob]) await sees(page, 'ann', 'bob');
  assert.equal(await ann.locator('#count').getAttribute('data-value'), '2');
  await say(ann, 'hello');
  await say(bob, '<img src=x onerror="document.title=1"> & hello');
  for (const page of [ann, bob]) await hears(page, 'onerror');
  assert.deepEqual(await messages(ann), ['hello', '<img src=x onerror="document.title=1"> & hello']);
  for (const page of [ann, bob]) await like(page);
  for (const page of [ann, bob]) await shows(page, '2');
  const carla = await visit(t, node, { user: 'carla' });
  await hears(carla, 'onerror');
  assert.deepEqual(await messages(carla), await messages(ann), 'a newcomer reads what was said');
  await shows(carla, '2');
  await isLiked(carla, false);
  await choose(bob, 'Leave the room');
  await bob.getByText('Last seen here').waitFor();
  await sees(ann, 'ann', 'carla');
  await bob.getByRole('button', { name: 'Come back' }).click();
  await sees(ann, 'ann', 'bob', 'carla');
});

test('a heart counts once for each person, however often and in however many tabs it is pressed, and pressed again it is taken back', async (t) => {
  const node = await startNode(t);
  const [ann, tab, bob] = [await visit(t, node, { user: 'ann' }), await visit(t, node, { user: 'ann' }), await visit(t, node, { user: 'bob' })];
  await like(ann);
  await like(bob);
  for (const page of [ann, tab, bob]) await shows(page, '2');
  for (const page of [ann, tab, bob]) await isLiked(page, true);
  await tab.getByText('you like it, in all your tabs').waitFor();
  await like(tab);
  for (const page of [ann, tab, bob]) await shows(page, '1');
  for (const page of [ann, tab]) await isLiked(page, false);
  // Faster than anything is answered; what is left is what was pressed last.
  await heart(ann).evaluate((button) => [1, 2, 3, 4, 5].forEach(() => button.click()));
  for (const page of [ann, tab, bob]) await shows(page, '2');
  for (const page of [ann, tab, bob]) await isLiked(page, true);
  // Both tabs at once, before either has heard of the other.
  await Promise.all([ann, tab].map((page) => heart(page).evaluate((button) => (button.click(), button.click()))));
  for (const page of [ann, tab]) await eventually('all presses are answered', () => heart(page).evaluate((button) => !button.hasAttribute('data-waits')));
  const { users } = await node.call('GET', '/v1/counters/likes:lobby/voters');
  assert.deepEqual(users.sort(), ['ann', 'bob']);
  await bob.reload();
  await connected(bob);
  await isLiked(bob, true);
  await shows(bob, '2');
});

test('what most people like goes to the front on every page, while it is looked at', async (t) => {
  const node = await startNode(t);
  const [ann, bob] = [await visit(t, node, { user: 'ann' }), await visit(t, node, { user: 'bob' })];
  for (const page of [ann, bob]) await ranks(page, 'Salt and Neon 0', 'Slow Train Home 0', 'Northern Lights 0', 'Four in the Morning 0');
  await song(ann, 'Northern Lights').click();
  for (const page of [ann, bob]) await ranks(page, 'Northern Lights 1', 'Salt and Neon 0', 'Slow Train Home 0', 'Four in the Morning 0');
  for (const page of [ann, bob]) await song(page, 'Four in the Morning').press('Enter');
  for (const page of [ann, bob]) await ranks(page, 'Four in the Morning 2', 'Northern Lights 1', 'Salt and Neon 0', 'Slow Train Home 0');
  assert.equal(await ann.evaluate(() => document.activeElement.closest('li')?.dataset.key), 'songs:four-in-the-morning', 'the focus goes along');
  await song(bob, 'Four in the Morning').click();
  await song(bob, 'Slow Train Home').click();
  await node.call('PUT', '/v1/counters/songs:slow-train-home/voters/a-service');
  for (const page of [ann, bob]) await ranks(page, 'Slow Train Home 2', 'Four in the Morning 1', 'Northern Lights 1', 'Salt and Neon 0');
  await eventually('bob has liked one of them', async () => (await song(bob, 'Slow Train Home').getAttribute('aria-pressed')) === 'true');
  assert.equal(await song(ann, 'Slow Train Home').getAttribute('aria-pressed'), 'false');
  assert.equal(await likes(ann), '0', 'the room is another matter');
  // A row stays under the finger until it is let go, and counts.
  await song(ann, 'Salt and Neon').hover();
  await ann.mouse.down();
  for (const user of ['s1', 's2', 's3']) await node.call('PUT', `/v1/counters/songs:salt-and-neon/voters/${user}`);
  await ranks(bob, 'Salt and Neon 3', 'Slow Train Home 2', 'Four in the Morning 1', 'Northern Lights 1');
  await ranks(ann, 'Slow Train Home 2', 'Four in the Morning 1', 'Northern Lights 1', 'Salt and Neon 3');
  await ann.mouse.up();
  for (const page of [ann, bob]) await ranks(page, 'Salt and Neon 4', 'Slow Train Home 2', 'Four in the Morning 1', 'Northern Lights 1');
});

test('a dropped page that returns within its grace was never gone, missed nothing, and its like is as it was pressed last', async (t) => {
  const node = await startNode(t, { 'presence.grace_s': 20 });
  const wire = await layWire(t, node);
  const [ann, bob] = [await visit(t, node, { user: 'ann' }), await visit(t, wire, { user: 'bob' })];
  await sees(ann, 'ann', 'bob');
  await like(bob);
  await shows(bob, '1');
  wire.mute(); // the node hears bob, and he does not hear the answer
  await like(bob);
  await shows(ann, '0');
  wire.cut();
  await disconnected(bob);
  await say(ann, 'while you were away');
  await say(bob, 'from the tunnel');
  for (let index = 0; index < 3; index += 1) await like(bob);
  await bob.getByText('counts when you are back').waitFor();
  assert.equal(await likes(ann), '0');
  await bob.locator('.line.waiting').waitFor();
  await sees(ann, 'ann', 'bob');
  wire.mend();
  await connected(bob);
  for (const page of [ann, bob]) await hears(page, 'from the tunnel');
  await bob.getByText('You missed 1 message: recovered').waitFor();
  for (const page of [ann, bob]) {
    await shows(page, '1');
    assert.deepEqual(await messages(page), ['while you were away', 'from the tunnel']);
  }
  assert.deepEqual(await ann.locator('.note', { hasText: 'Bob' }).allTextContents(), ['Bob joined']);
});

test('the browser going offline and online again is the same to everybody else', async (t) => {
  const node = await startNode(t, { 'presence.grace_s': 20 });
  const [ann, bob] = [await visit(t, node, { user: 'ann' }), await visit(t, node, { user: 'bob' })];
  await sees(ann, 'ann', 'bob');
  await bob.context().setOffline(true);
  await bob.waitForSelector('#pill[data-state=offline]');
  await say(ann, 'are you there?');
  await bob.context().setOffline(false);
  await connected(bob);
  await hears(bob, 'are you there?');
  await bob.getByText('You missed 1 message: recovered').waitFor();
  await sees(ann, 'ann', 'bob');
  assert.deepEqual(await ann.locator('.note').allTextContents(), ['Bob joined']);
});

test('a reload keeps the person, another tab is another one, a new name shows at once', async (t) => {
  const node = await startNode(t);
  const ann = await visit(t, node, { user: 'ann' });
  const other = await visit(t, node);
  await eventually('two are here', async () => (await people(ann)).length === 2);
  const [stranger] = (await people(ann)).filter((user) => user !== 'ann');
  await other.reload();
  await connected(other);
  await sees(other, 'ann', stranger);
  await ann.locator('#me').click();
  await ann.getByLabel('Name').fill('Anne-Sophie');
  await ann.getByRole('button', { name: 'Save' }).click();
  await eventually('the new name', async () => (await other.locator('[data-user=ann] .name').textContent()) === 'Anne-Sophie');
  await sees(other, 'ann', stranger);
  assert.deepEqual(await other.locator('.note', { hasText: 'left' }).allTextContents(), []);
});

test('after a crash of the node the page says that history was lost, and goes on', async (t) => {
  const node = await startNode(t);
  const wire = await layWire(t, node);
  const ann = await visit(t, wire, { user: 'ann' });
  await say(ann, 'before');
  await hears(ann, 'before');
  await like(ann);
  await shows(ann, '1');
  await node.stop('SIGKILL');
  await disconnected(ann);
  await node.start();
  await connected(ann);
  await ann.getByText('History was lost while you were away').waitFor();
  await say(ann, 'after');
  await hears(ann, 'after');
  await shows(ann, '1');
  await isLiked(ann, true);
});

test('while the Redis node behind it stands still the page says that its people may have gone, and keeps them', async (t) => {
  const region = await startRegion(t, { redis: 1, gateways: 1 });
  const [ann, bob] = [await visit(t, region.gateways[0], { user: 'ann' }), await visit(t, region.gateways[0], { user: 'bob' })];
  for (const page of [ann, bob]) await sees(page, 'ann', 'bob');
  const { child } = region.redis.get('redis-0');
  child.kill('SIGSTOP');
  for (const page of [ann, bob]) await page.getByText('Last seen here').waitFor();
  assert.equal(await ann.locator('#pill').getAttribute('data-state'), 'connected');
  assert.deepEqual([await people(ann), await ann.locator('#count').getAttribute('data-value')], [['ann', 'bob'], '2']);
  child.kill('SIGCONT');
  for (const page of [ann, bob]) await page.getByText('Here now').waitFor();
  await visit(t, region.gateways[0], { user: 'carla' });
  for (const page of [ann, bob]) await sees(page, 'ann', 'bob', 'carla');
});

test('where tokens are required the page asks for one, and says when it is refused', async (t) => {
  const node = await startNode(t, GUARDED);
  const ann = await visit(t, node, { isLost: true });
  await ann.getByLabel('Token', { exact: true }).fill('not a token');
  await ann.getByRole('button', { name: 'Enter the room' }).click();
  await ann.getByText('does not accept that token').waitFor();
  await ann.getByLabel('Token', { exact: true }).fill(token('ann', { info: { name: 'Ann', color: '#047857' } }));
  await ann.getByRole('button', { name: 'Enter the room' }).click();
  await connected(ann);
  await sees(ann, 'ann');
  await ann.locator('[data-user=ann]', { hasText: 'you' }).waitFor();
  await say(ann, 'hello');
  await hears(ann, 'hello');
  assert.deepEqual(await messages(ann), ['hello']);
  await ann.getByText('this server has no namespace “likes”').waitFor();
  assert.ok(await heart(ann).isDisabled());
  assert.ok(await ann.locator('#trending').isHidden());
});

test('a page of another origin can neither connect nor write, and a rebound name is not served', async (t) => {
  const node = await startNode(t);
  const foreign = http.createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<title>foreign</title>'));
  await new Promise((resolve) => foreign.listen(0, '127.0.0.1', resolve));
  t.after(() => foreign.close());
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${foreign.address().port}/`);
  const tried = await page.evaluate(async ({ http: base, ws }) => {
    const socket = await new Promise((done) => {
      const opened = new WebSocket(`${ws}/connection/websocket`);
      opened.onopen = () => done('opened');
      opened.onclose = () => done('refused');
    });
    const post = (path, type) =>
      fetch(base + path, { method: 'POST', mode: 'no-cors', headers: { 'Content-Type': type }, body: '{"by":1,"data":1,"user":"eve"}' }).then(() => 'sent', () => 'refused');
    await post('/v1/counters/likes/add', 'text/plain');
    await post('/v1/channels/lobby/messages', 'text/plain');
    const read = await fetch(`${base}/v1/counters/likes`).then(() => 'read', () => 'refused');
    const events = await new Promise((done) => {
      const source = new EventSource(`${base}/v1/events?channel=lobby`);
      source.onopen = () => done('opened');
      source.onerror = () => (source.close(), done('refused'));
    });
    const mint = await fetch(`${base}/v1/development/token`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"user":"eve"}' }).then(() => 'read', () => 'refused');
    return { socket, read, events, mint };
  }, node);
  assert.deepEqual(tried, { socket: 'refused', read: 'refused', events: 'refused', mint: 'refused' });
  assert.equal((await node.call('GET', '/v1/counters/likes')).value, 0);
  assert.deepEqual((await node.api('history', { channel: 'lobby', limit: 10 })).result.publications, []);
  const port = node.listen.client.split(':')[1];
  const rebound = await page.goto(`http://rebound.test:${port}/`);
  assert.ok(rebound.status() >= 400, `a foreign Host was answered ${rebound.status()}`);
});

test('screenshots: a desk and a phone, by day and by night, and no sideways scrolling at 320 pixels', async (t) => {
  const node = await startNode(t);
  const views = {
    'desktop-light': { user: 'ann', colorScheme: 'light' },
    'desktop-dark': { user: 'bob', colorScheme: 'dark' },
    'phone-light': { user: 'carla', colorScheme: 'light', ...PHONE },
    'phone-dark': { user: 'dmitri', colorScheme: 'dark', ...PHONE },
  };
  const pages = {};
  for (const [name, options] of Object.entries(views)) pages[name] = await visit(t, node, options);
  const narrow = await visit(t, node, { user: 'eve', viewport: { width: 320, height: 568 } });
  const lines = [
    ['desktop-light', 'Morning! Is everybody in?'],
    ['desktop-dark', 'Here, from the office.'],
    ['desktop-dark', 'Carla is on the train, I think.'],
    ['phone-light', 'I am! Three tunnels so far and I have not missed a word of this.'],
    ['phone-dark', 'And nobody saw you leave.'],
    ['desktop-light', 'That is the idea. Likes, please!'],
  ];
  for (const [index, [who, text]] of lines.entries()) {
    await say(pages[who], text);
    await eventually('it is said', async () => (await messages(narrow)).length === index + 1);
  }
  for (const page of Object.values(pages)) await like(page);
  for (const name of ['desktop-light', 'desktop-dark', 'phone-light']) await song(pages[name], 'Northern Lights').click();
  for (const name of ['desktop-light', 'phone-dark']) await song(pages[name], 'Slow Train Home').click();
  await song(narrow, 'Four in the Morning').click();
  for (const [name, page] of Object.entries(pages)) {
    await shows(page, '4');
    await ranks(page, 'Northern Lights 3', 'Slow Train Home 2', 'Four in the Morning 1', 'Salt and Neon 0');
    await sees(page, 'ann', 'bob', 'carla', 'dmitri', 'eve');
    await eventually('the page rests', () => page.evaluate(() => document.getAnimations().every(({ effect }) => effect.getTiming().iterations === Infinity)));
    await page.screenshot({ path: join(ARTIFACTS, `${name}.png`) });
  }
  assert.equal(await narrow.evaluate(() => document.documentElement.scrollWidth), 320);
});
