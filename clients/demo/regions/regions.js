// The page of several regions: asks the demo where they are, and shows each beside the others, the links between them, and what the
// regions agree on.
import { keep, make, mark, plural, say, span } from '../../ops/elements.js';
import { card } from './card.js';
import { Convergence, equal, KINDS, Lags } from './convergence.js';
import { linkName, linksPanel } from './links.js';
import { plot } from './plot.js';
import { Region } from './region.js';
import { soldWords } from './stock.js';

const LOOK_MS = 1_000;
const BURST = { least: 50, most: 150 }; // likes in each region, on average a hundred

const $ = (id) => document.getElementById(id);
const convergence = new Convergence();
const lags = new Lags();
let regions = [];
let cards = [];
let links = [];
let orderedMs = 0; // when the latest order was carried out
let panel;
let history;

/** One request to the demo; an error says why. */
async function ask(path, options) {
  const answer = await fetch(path, { cache: 'no-store', ...options });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error?.message ?? `${path} was answered ${answer.status}`);
  return body;
}

async function order(link, change) {
  const begun = performance.now();
  try {
    const now = await ask(`/demo/links/${link.regions.join('/')}`, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(change) });
    orderedMs = performance.now();
    known(links.map((one) => (linkName(one) === linkName(now) ? { ...one, ...now } : one)), begun);
    if ('up' in change) say($('status'), `Link ${linkName(link)} ${change.up ? 'healed' : 'cut'}.`);
  } catch (error) {
    notice(error.message);
  }
}

const orderAll = (some, up) => Promise.all(some.filter((link) => link.up !== up).map((link) => order(link, { up })));
const linksOf = ({ name }) => links.filter((link) => link.regions.includes(name));
const isCutOff = (region) => linksOf(region).every(({ up }) => !up);

function notice(text) {
  $('notice').hidden = !text;
  say($('notice'), text);
}

async function look() {
  const asked = performance.now();
  let state;
  try {
    state = await ask('/demo/state');
    notice('');
  } catch {
    return notice('The demo does not answer. Was it stopped? Start it again and this page goes on.');
  }
  if (asked < orderedMs) return; // how it was before
  const before = new Map(links.map((link) => [linkName(link), link]));
  known(state.links.map((link) => ({ ...link, ...rate(link, before.get(linkName(link)), asked) })), asked);
}

/** The bytes that crossed a link, and how many in a second since it was looked at `before`. */
function rate({ bytes }, before, asked) {
  const all = Object.values(bytes).reduce((sum, some) => sum + some, 0);
  return { all, asked, rate: before && ((all - before.all) / Math.max(1, asked - before.asked)) * 1_000 };
}

/** The links are so, at the latest since `sinceMs`. */
function known(now, sinceMs) {
  const [wasCut, isCut] = [links, now].map((some) => some.some(({ up }) => !up));
  links = now;
  if (isCut && !wasCut) {
    convergence.cut();
    lags.cut();
  }
  if (!isCut && wasCut) convergence.healed(sinceMs);
  history.cut(isCut);
  show();
}

function changed({ type, detail, region }) {
  const { show: parts } = cards[regions.indexOf(region)];
  if (type === 'liked') lags.liked(region.name, detail, links.some(({ up }) => !up));
  if (type === 'value' || type === 'entries') lags.told(region.name, region.asOf, Date.now());
  if (type === 'value') history.push(region.name, Number(region.value));
  if (type === 'message') parts.message(detail);
  else if (type === 'entries') parts.entries(regions.map(({ name }) => name), Date.now());
  else parts[type]?.(Date.now());
  show();
}

// What concerns all regions is shown once for all that changed in a moment.
let isDue = false;
function show() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => {
    isDue = false;
    showAll();
  }, 16);
}

function showAll() {
  const isEqual = equal(regions);
  convergence.look(isEqual, performance.now());
  const isCut = links.some(({ up }) => !up);
  panel.show({ regions, links }, (one, other) => lags.between(one, other));
  cards.forEach(({ show: parts }, at) => parts.cut(isCutOff(regions[at]), linksOf(regions[at]).length));
  say($('all'), isCut ? 'Heal all links' : 'Cut all links');
  document.body.dataset.state = isCut ? 'cut' : Object.values(isEqual).every(Boolean) ? 'equal' : 'converging';
  keep($('verdicts'), Object.keys(KINDS), (kind) => kind, () => make('li', '', make('span'), make('span', 'soft')), (row, kind) => {
    mark(row.children[0], isEqual[kind] ? 'good' : 'warn', `${KINDS[kind]} ${isEqual[kind] ? 'equal' : 'differ'}`);
    const took = convergence.took[kind];
    const open = convergence.open.includes(kind) ? `healed ${seconds(performance.now() - convergence.healedMs)} ago` : '';
    say(row.children[1], took === undefined ? open : `${seconds(took)} after healing`);
  });
  const took = Object.keys(KINDS).filter((kind) => kind in convergence.took);
  if (took.length && !convergence.open.length) say($('status'), `Equal again: ${took.map((kind) => `${KINDS[kind]} after ${seconds(convergence.took[kind])}`).join(', ')}.`);
  say($('lags'), words());
  say($('tickets'), soldWords(regions));
  history.describe(`Likes in the last minute. Now ${regions.map(({ name, value }) => `${name} ${value ?? 'unknown'}`).join(', ')}.`);
}

const seconds = (ms) => `${(ms / 1_000).toFixed(ms < 9_950 ? 1 : 0)} s`;

/** How long the latest like of each region was under way. */
function words() {
  const one = ({ name: from }) => {
    const others = regions.filter(({ name }) => name !== from).map(({ name: to }) => [to, lags.of(from, to, Date.now())]);
    if (others[0][1] === null) return '';
    return `${from} → ${others.map(([to, { ms, isOpen }]) => (isOpen && ms > 1_000 ? `${to} not yet, ${span(ms)}` : isOpen ? `${to} …` : `${to} ${span(ms)}`)).join(', ')}`;
  };
  const all = regions.map(one).filter(Boolean);
  return all.length ? `Latest like: ${all.join(' · ')}` : 'A like is with every other region in a moment: here it is told how long that took.';
}

async function start() {
  const state = await ask('/demo/state').catch((error) => notice(`${error.message}. Reload this page.`));
  if (!state) return;
  regions = state.regions.map((region) => new Region(region));
  cards = regions.map((region) => card(region, { cutOff: (one) => orderAll(linksOf(one), isCutOff(one)) }));
  $('columns').append(...cards.map(({ element }) => element));
  $('columns').style.setProperty('--count', regions.length);
  document.body.classList.toggle('many', regions.length > 3);
  panel = linksPanel($('picture'), $('controls'), { order, bounds: state.bounds, count: regions.length });
  history = plot($('plot'), regions.map(({ name }) => name));
  for (const region of regions) region.addEventListener('change', (event) => changed(event.detail));
  $('burst').onclick = () => regions.forEach((region) => region.like(BURST.least + Math.floor(Math.random() * (BURST.most - BURST.least + 1))));
  $('all').onclick = () => orderAll(links, links.some(({ up }) => !up));
  document.title = `Headcount: ${plural(regions.length, 'region')}`;
  await look();
  setInterval(() => document.hidden || look(), LOOK_MS);
  // What grows old by itself.
  setInterval(() => document.hidden || regions.forEach((region, at) => {
    cards[at].show.others(Date.now());
    cards[at].show.entries(regions.map(({ name }) => name), Date.now());
  }), LOOK_MS);
}

start();
