// The operations page: asks the node, and lets each panel show what it told.
//
// A panel is a file of its own with `panel = { id, title, needs?, mount(root), show(told) }`: `mount` fills its section
// once, `show` brings it up to date, `needs` says whether there is something to show. `told` holds the answers of
// `/v1/ring` and `/v1/regions` (`null` on a node without a gateway), `/readyz` and `/metrics`, those of `SELDOM`, and `atMs`, the
// time of the look.
import { keep, make, plural, say, span } from './elements.js';
import { panel as gateways } from './gateways.js';
import { panel as hot } from './hot.js';
import { read } from './metrics.js';
import { panel as readiness } from './readiness.js';
import { panel as regions, troubles as regionTroubles } from './regions.js';
import { notes, panel as ring, troubles as ringTroubles } from './ring.js';
import { panel as rooms } from './rooms.js';
import { panel as traffic } from './traffic.js';

const PANELS = [traffic, ring, regions, hot, rooms, gateways, readiness];
const PAUSE_MS = 1_000;
// What costs the node, or its Redis nodes, a little more. `null` where the node has no such thing, `undefined` where it cannot tell now.
const SELDOM = { totals: '/v1/presence/stats', rooms: '/v1/presence/rooms?limit=10', hot: '/v1/hot/counters?limit=10' };
const SELDOM_LOOKS = 3;
const ANSWER_MS_MAX = 4_000; // a node that takes longer does not answer

const $ = (id) => document.getElementById(id);
let answeredMs = null; // when the node answered last, on the clock of this page
const openedMs = Date.now();
let looks = 0;
const seldom = {};

for (const panel of PANELS) {
  const title = make('h2', '', panel.title);
  const root = make('section', 'card', title);
  [root.id, title.id] = [panel.id, `${panel.id}-title`];
  root.setAttribute('aria-labelledby', title.id);
  root.hidden = true;
  panel.mount(root);
  $('panels').append(root);
}

async function ask(path, as, ...fine) {
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  if (answer.ok || fine.includes(answer.status)) return answer[as]();
  if (answer.status === 404) return null;
  throw new Error(`${path} was answered ${answer.status}`);
}

async function look() {
  try {
    const [seen, known, ready, text] = await Promise.all([ask('/v1/ring', 'json'), ask('/v1/regions', 'json'), ask('/readyz', 'json', 503), ask('/metrics', 'text')]);
    if (!ready || text === null) throw new Error('this is not the admin listener of a node of Headcount');
    answeredMs = Date.now();
    const told = { ring: seen, regions: known, readiness: ready, metrics: read(text), atMs: answeredMs, ...seldom };
    show(told);
    silent(null);
    if (looks % SELDOM_LOOKS === 0) Object.entries(SELDOM).forEach(askSeldom);
    looks += 1;
  } catch (error) {
    silent(error);
  }
}

/** Asked beside the looks, which do not wait for it. */
async function askSeldom([name, path]) {
  seldom[name] = await ask(path, 'json').catch(() => undefined);
}

function show(told) {
  for (const panel of PANELS) {
    const root = $(panel.id);
    root.hidden = panel.needs ? !panel.needs(told) : false;
    if (!root.hidden) panel.show(told);
  }
  showVerdict(told);
  const build = told.metrics.all('headcount_build_info')[0]?.labels;
  const clients = told.metrics.all('headcount_connections').reduce((sum, { value }) => sum + value, 0);
  const leads = told.metrics.value('headcount_coordinator_is_leader') === 1;
  const facts = [told.ring?.here?.gateway, build && `version ${build.version}`, told.ring && plural(clients, 'client'), leads && 'coordinates the ring'];
  say($('who'), facts.filter(Boolean).join(' · '));
}

/** One sentence for the hurried, and what is wrong by name. */
function showVerdict(told) {
  const { readiness: { status, checks } } = told;
  const failing = Object.entries(checks).filter(([, check]) => check.status !== 'ok').map(([name, check]) => `${name}: ${check.why}.`);
  const known = [...ringTroubles(told), ...regionTroubles(told)];
  const troubles = [...known, ...failing];
  const changing = told.ring?.mode === 'ring' && told.ring.phase !== 'stable';
  const tone = status === 'failed' ? 'bad' : troubles.length || status !== 'ready' ? 'warn' : 'good';
  const words = {
    bad: 'This node does not work as it should: new clients are sent elsewhere.',
    warn: status === 'ready' || status === 'degraded' ? 'This node serves. Something needs a look:' : `This node is ${status}.`,
    good: changing ? 'All is well. The ring is being changed.' : 'All is well.',
  };
  $('verdict').hidden = false;
  $('verdict').className = `verdict ${tone}`;
  say($('verdict-title'), `${{ good: '✓', warn: '▲', bad: '✕' }[tone]} ${words[tone]}`);
  keep($('troubles'), [...troubles, ...notes(told)], (text) => text, () => make('li'), (item, text) => say(item, text));
  // Numbers of seconds in it would be read out again and again.
  say($('spoken'), [words[tone], ...known, ...notes(told)].join(' '));
}

/** Says since when the node is silent, and that what is shown is old. */
function silent(error) {
  document.body.dataset.state = error ? 'silent' : 'live';
  $('silence').hidden = !error;
  say($('pill-text'), error ? 'No answer' : 'Live');
  if (!error) return;
  const since = new Date(answeredMs ?? openedMs).toLocaleTimeString();
  const why = error.name === 'TimeoutError' ? `no answer within ${span(ANSWER_MS_MAX)}` : error instanceof TypeError ? 'it cannot be reached' : error.message;
  const shown = answeredMs ? ` What is shown below is from ${since}.` : '';
  say($('silence'), `✕ This node has not answered since ${since}: ${why}. Is its process running? It is asked again every second.${shown}`);
}

// One look at a time, none while nobody sees the page.
for (;;) {
  if (document.hidden) await new Promise((seen) => document.addEventListener('visibilitychange', seen, { once: true }));
  else {
    await look();
    await new Promise((over) => setTimeout(over, PAUSE_MS));
  }
}
