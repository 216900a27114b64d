// The ring: the picture, how far a change has come, and each Redis node.
import { keep, lag, make, mark, number, plural, say, set, share, span } from './elements.js';
import * as lines from './line.js';
import { color, picture } from './picture.js';

const PHASES = {
  stable: 'Nothing changes.',
  prepare: 'Gateways begin to listen at the new owners too.',
  fence: 'The old owners are told to refuse what comes late.',
  switch: 'The new owners are in use, and take over what channels have kept.',
};

const CALM_MS = 5; // a line of less is a calm one

let circle, caption, alone, cluster, source, steps, meaning, wish, details, list, told;
let [pointed, chosen] = [null, null];

export const panel = {
  id: 'ring',
  title: 'The ring',

  mount(root) {
    alone = make('p', 'lead');
    [source, meaning, wish] = [make('p', 'lead'), make('p', 'soft'), make('p', 'wish')];
    steps = set(make('ol', 'steps', ...Object.keys(PHASES).map((phase) => make('li', '', phase))), { 'aria-label': 'Phase' });
    details = make('dl', 'details');
    list = make('ul', 'nodes');
    circle = picture({ point: (id) => look(() => (pointed = id)), choose: (id) => look(() => (chosen = id)) });
    caption = make('p', 'caption');
    const words = make('div', 'words', source, make('div', '', steps, meaning, wish), details);
    cluster = make('div', '', make('div', 'ring', make('div', 'round', circle.element, caption), words), list);
    root.append(alone, cluster);
  },

  show(now) {
    told = now;
    const { ring } = now;
    cluster.hidden = ring?.mode !== 'ring';
    alone.hidden = !cluster.hidden;
    if (!ring) return say(alone, 'This node has no gateway, so it goes by no ring: open the operations page of a gateway to see it.');
    if (ring.mode === 'embedded') return say(alone, 'This node stands alone: it keeps all channels itself, in its own memory, without Redis and etcd. There is no ring to show, and nothing is missing.');
    lines.remember('canary', Object.fromEntries(ring.nodes.map((node) => [node.id, isHeard(here(node)) ? here(node).canary_lag_ms : null])));
    draw();
  },
};

/** What this gateway knows of a node itself. */
const here = (node) => told.ring.here.nodes.find(({ id }) => id === node.id);
const isHeard = (own) => own?.listening && own.opinion?.vote !== 'down';

/** A node as the picture and the words want it. */
function seen(node) {
  const own = here(node);
  const down = node.down_votes ?? [];
  const isRefused = own?.opinion?.vote === 'down' || down.length > 0;
  return { ...node, own, down, isDown: node.state === 'down' || isRefused, isAnswering: own?.opinion?.vote === 'up' && !isRefused };
}

function look(change) {
  change();
  if (told?.ring?.mode === 'ring') draw();
}

function draw() {
  const ring = { ...told.ring, nodes: told.ring.nodes.map(seen) };
  say(source, sourceOf(ring));
  const at = Object.keys(PHASES).indexOf(ring.phase);
  [...steps.children].forEach((step, place) => set(step, { 'aria-current': place === at ? 'step' : null, class: place && place < at ? 'past' : '' }));
  say(meaning, ring.epoch ? PHASES[ring.phase] : 'There is no ring yet: make one with `headcount ring add NAME redis://HOST:PORT`.');
  say(wish, wishOf(ring));
  circle.show(ring, chosen, (node) => `${node.id}: ${node.slots} slots, ${share(node.percent)}, ${stateOf(node)[1]}`);
  say(caption, captionOf(ring));
  const one = ring.nodes.find(({ id }) => id === (pointed ?? chosen));
  showDetails(one, ring);
  for (const arc of circle.element.querySelectorAll('[data-color]')) arc.classList.toggle('faded', one?.slots > 0 && arc.dataset.key !== one.id);
  showNodes(ring);
}

/** What the picture cannot show. */
function captionOf({ nodes, phase }) {
  const without = nodes.filter((node) => !node.slots).map((node) => `${node.id} (${node.state === 'serving' ? 'not yet' : node.state})`);
  const outer = nodes.some((node) => node.slots_by_other_layout !== null) ? `The thin line is the ring as it ${phase === 'switch' ? 'was' : 'will be'}. ` : '';
  return outer + (without.length ? `Without slots: ${without.join(', ')}.` : '');
}

function sourceOf({ here: { source: origin, standing, trouble, etcd_age_ms: age, registered } }) {
  const places = { etcd: 'from etcd', redis: 'a copy that a Redis node has', disk: 'the last copy on this node’s disk' };
  const from = origin ? `This gateway’s ring is ${places[origin]}` : 'This gateway has no ring yet';
  const heard = age === null ? 'etcd has not answered yet' : `etcd was heard ${span(age)} ago`;
  const doubt = standing === 'disputed' || standing === 'none' ? ` ${trouble}.` : '';
  return `${from}; ${heard}.${doubt} ${registered ? 'It stands in etcd: changes wait for it.' : 'It does not stand in etcd: changes do not wait for it.'}`;
}

function wishOf({ wanted, answer }) {
  if (wanted) {
    const { wish: asked, by } = wanted;
    const what = asked === 'abort' ? 'the change under way to be dropped'
      : asked === 'publish' ? 'the newest known ring to be published again'
      : asked.lose ? `${asked.lose.join(', ')} to be taken for lost`
      : `another layout than that of epoch ${asked.become?.epoch}`;
    return `${by} wants ${what}; the coordinator has not answered yet.`;
  }
  if (answer?.outcome === 'refused') return `What ${answer.by} wanted was refused: ${answer.reason}`;
  return answer ? `The last wish, of ${answer.by}, was done by epoch ${answer.epoch}.` : '';
}

/** Tone and words. */
export function stateOf(node) {
  if (node.state === 'down') return node.isAnswering ? ['warn', 'answers again'] : ['bad', 'down'];
  if (node.isDown) return ['bad', 'does not answer'];
  if (node.own?.out_of_memory) return ['bad', 'out of memory'];
  if (node.state === 'drained') return ['warn', 'drained'];
  if (!node.own?.opinion) return ['warn', 'not judged yet'];
  return ['good', 'serving'];
}

/** Why a node is not well, each reason once. */
export function reasonsOf(node) {
  const reasons = new Map();
  const add = (reason, gateway) => reasons.set(reason, [...new Set([...(reasons.get(reason) ?? []), gateway])]);
  node.down.forEach(({ gateway, reason }) => add(reason, gateway));
  if (node.own?.opinion?.vote === 'down') add(node.own.opinion.reason, told.ring.here.gateway);
  return [...reasons].map(([reason, gateways]) => `${gateways.join(', ')}: ${reason}`).join('; ');
}

function showDetails(node, ring) {
  const rows = node ? [
    ['Node', node.id],
    ['State', stateOf(node)[1]],
    ['Slots', slotsOf(node, ring.phase)],
    ['Weight', String(node.weight)],
    ['Incarnation', String(node.incarnation)],
    ['Pinned slots', String(node.pins)],
    ['Address', node.url],
    ['Canary', isHeard(node.own) ? lag(node.own.canary_lag_ms) : 'not heard'],
    ['Canaries missed', number(told.metrics.value('headcount_redis_canary_missed_total', { node: node.id }) ?? 0)],
    ['Connections', connectionsOf(node)],
    ['Votes', votesOf(node, ring)],
  ] : summaryOf(ring);
  keep(details, rows, ([name]) => name, ([name]) => make('div', '', make('dt', '', name), make('dd')), (row, [, text]) => say(row.lastChild, text));
}

/** Of all nodes, as long as none is pointed at. */
function summaryOf({ nodes, slots }) {
  const states = ['serving', 'drained', 'down'].map((state) => [nodes.filter((node) => node.state === state).length, state]);
  const serving = nodes.filter((node) => node.state === 'serving' && node.slots);
  const weight = serving.reduce((sum, node) => sum + node.weight, 0);
  const over = serving.map((node) => [node, (node.slots * weight) / (slots * node.weight)]).sort(([, one], [, other]) => other - one)[0];
  const most = over ? `${over[0].id}: ${share((over[1] - 1) * 100)} more than its weight asks for` : 'nobody';
  return [
    ['Nodes', states.filter(([count]) => count).map(([count, state]) => `${count} ${state}`).join(', ') || 'none'],
    ['Slots', number(slots)],
    ['Carries most', most],
    ['More', 'Point at an arc, tap it, or move to it by the Tab and arrow keys.'],
  ];
}

function slotsOf(node, phase) {
  const other = node.slots_by_other_layout;
  const then = other === null || other === node.slots ? '' : phase === 'switch' ? `, had ${number(other)}` : `, will have ${number(other)}`;
  return `${number(node.slots)} (${share(node.percent)})${then}`;
}

function connectionsOf({ own }) {
  if (!own) return 'none from here';
  const standing = [own.connected && 'commands', own.listening && 'subscriptions'].filter(Boolean).join(', ') || 'none';
  return own.pending ? `${standing}; ${plural(own.pending, 'channel')} not listened for yet` : standing;
}

function votesOf(node, ring) {
  const downs = new Set(node.down.map(({ gateway }) => gateway));
  if (node.own?.opinion?.vote === 'down') downs.add(ring.here.gateway);
  if (!downs.size) return node.own?.opinion ? 'nobody says that it is down' : 'this gateway has no opinion yet';
  const of = ring.gateways.length ? ` of ${plural(Math.max(ring.gateways.length, downs.size), 'gateway')}` : '';
  return `${downs.size}${of} cannot use it. ${reasonsOf(node)}`;
}

function showNodes(ring) {
  const create = ({ id }) => {
    const button = make('button', 'node', make('span', 'swatch'), make('b'), make('span'), make('span', 'soft'), make('span', 'lagging', lines.line(), make('span', 'number')), make('span', 'why'));
    button.type = 'button';
    button.addEventListener('click', () => look(() => (chosen = chosen === id ? null : id)));
    return make('li', '', button);
  };
  keep(list, ring.nodes, (node) => node.id, create, (item, node) => {
    const button = item.firstChild;
    const [swatch, name, state, slots, lagging, why] = button.children;
    set(button, { 'aria-pressed': node.id === chosen });
    set(swatch, { 'data-color': color(node.id) });
    say(name, node.id);
    mark(state, ...stateOf(node));
    say(slots, `${plural(node.slots, 'slot')}, weight ${node.weight}`);
    lines.show(lagging.firstChild, 'canary', node.id, CALM_MS, canaryWords);
    say(lagging.lastChild, isHeard(node.own) ? lag(node.own.canary_lag_ms) : 'no canary');
    say(why, reasonsOf(node));
  });
}

/** The line of a node's canary in words. */
function canaryWords(looks, lags, missed) {
  return `Canary lag in the last ${looks} looks: ${lags.length ? `at most ${Math.max(...lags)} ms` : 'never heard'}, not heard in ${missed}`;
}

/** Troubles of the ring, for the top of the page. */
export function troubles({ ring, metrics }) {
  if (ring?.mode !== 'ring') return [];
  const nodes = ring.nodes.map(seen);
  const named = (wanted, text) => nodes.filter(wanted).map((node) => `${node.id} ${text}${reasonsOf(node) && ` (${reasonsOf(node)})`}.`);
  const alarms = metrics.all('headcount_coordinator_frozen').filter(({ value }) => value === 1).map(({ labels }) => `The coordinator here does nothing by itself: ${labels.reason.replace('_', ' ')}. \`headcount ring status\` and the log say more.`);
  return [
    ...named((node) => node.state === 'down' && !node.isAnswering, 'is down and out of use; its slots are with the others'),
    ...named((node) => node.state === 'down' && node.isAnswering, 'was down and answers again; it gets slots once it has been well for a while'),
    ...named((node) => node.state !== 'down' && node.isDown, 'does not answer everybody'),
    ...nodes.filter((node) => node.own?.out_of_memory).map((node) => `${node.id} is out of memory and refuses publications.`),
    ...alarms,
  ];
}

/** What is as somebody has wanted it, and may have been forgotten. */
export function notes({ ring }) {
  const drained = (ring?.nodes ?? []).filter((node) => node.state === 'drained');
  return drained.map((node) => `${node.id} is drained: it takes no slots until \`headcount ring undrain ${node.id}\`.`);
}
