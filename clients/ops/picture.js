// The ring as a picture: an arc for each node, as long as its share of slots; while the ring changes, a thin one around it
// for what is to come, or was before.
import { draw, keep, say, set, share } from './elements.js';

const [WIDTH, HEIGHT, MIDDLE_X, MIDDLE_Y] = [440, 360, 220, 180];
const [INNER, OUTER, OTHER_INNER, OTHER_OUTER] = [82, 128, 133, 142];
const LABEL_AT = 152;
const LABEL_PERCENT_MIN = 3; // a smaller arc has no name beside it; the list names it
const LABEL_LETTERS_MAX = 15;
const TURN_MS = 600;
const COLORS = 10;

const colors = new Map(); // node → number of its colour, its own as long as the page is open
const drawn = new Map(); // arc → { from, to } in parts of a turn, as it stands now

/** The number of a node's colour. */
export function color(id) {
  if (!colors.has(id)) {
    const taken = new Set(colors.values());
    const free = [...Array(COLORS).keys()].find((at) => !taken.has(at));
    colors.set(id, free ?? colors.size % COLORS);
  }
  return colors.get(id);
}

/** The picture. `on` has `point(id)` for a node that is pointed at, or null, and `choose(id)`. */
export function picture(on) {
  const [arcs, others, labels] = [draw('g', { role: 'group', 'aria-label': 'Nodes by their share of slots' }), draw('g', { 'aria-hidden': true }), draw('g', { 'aria-hidden': true })];
  const hatch = draw('pattern', { id: 'hatch', width: 9, height: 9, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }, draw('rect', { width: 4, height: 9, class: 'hatch' }));
  const middle = ['kicker', 'epoch', 'phase'].map((name, at) => draw('text', { class: name, x: MIDDLE_X, y: MIDDLE_Y + [-26, 14, 40][at], 'text-anchor': 'middle' }));
  const empty = draw('circle', { class: 'empty', cx: MIDDLE_X, cy: MIDDLE_Y, r: (INNER + OUTER) / 2 });
  const element = draw('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'picture' }, draw('defs', {}, hatch), empty, arcs, others, labels, ...middle);
  element.addEventListener('pointerleave', () => on.point(null));
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  arcs.addEventListener('keydown', (event) => {
    const all = [...arcs.querySelectorAll('.arc')];
    const at = all.indexOf(event.target);
    if (step[event.key]) all.at((at + step[event.key]) % all.length)?.focus();
    else if (event.key === 'Enter' || event.key === ' ') on.choose(event.target.dataset.key);
    else return;
    event.preventDefault();
  });

  const create = (node) => {
    const arc = draw('path', { role: 'button', class: 'arc', 'data-color': color(node.id) });
    const over = draw('path', { class: 'over' });
    const group = draw('g', {}, arc, over);
    arc.addEventListener('pointerenter', () => on.point(node.id));
    arc.addEventListener('focus', () => on.choose(node.id));
    arc.addEventListener('click', () => on.choose(node.id));
    arc.dataset.key = node.id;
    return group;
  };

  return {
    element,
    show(ring, chosen, describe) {
      const owners = ring.nodes.filter((node) => node.slots > 0);
      const inOther = ring.nodes.filter((node) => node.slots_by_other_layout > 0);
      empty.classList.toggle('shown', owners.length === 0);
      say(middle[0], ring.epoch ? 'epoch' : 'no ring yet');
      say(middle[1], ring.epoch ? String(ring.epoch) : '');
      say(middle[2], ring.epoch ? ring.phase : '');
      const entrance = owners.some((node) => node.id === chosen) ? chosen : owners[0]?.id; // one stop of the Tab key, arrows within
      const ends = turns(owners.map((node) => node.slots), ring.slots);
      keep(arcs, owners, (node) => node.id, create, (group, node, place) => {
        const [arc, over] = group.children;
        set(arc, { 'aria-label': describe(node), 'aria-pressed': node.id === chosen, tabindex: node.id === entrance ? 0 : -1 });
        over.classList.toggle('hatched', node.state !== 'serving' || node.isDown);
        move(`arc ${node.id}`, ends[place], (from, to) => [arc, over].forEach((path) => set(path, { d: sector(from, to, INNER, OUTER) })));
      });
      [...drawn.keys()].filter((name) => !owners.some((node) => name === `arc ${node.id}`)).forEach((name) => drawn.delete(name));
      const otherEnds = turns(inOther.map((node) => node.slots_by_other_layout), ring.slots);
      keep(others, inOther, (node) => node.id, (node) => draw('path', { class: 'other', 'data-color': color(node.id) }), (path, _, place) => set(path, { d: sector(...otherEnds[place], OTHER_INNER, OTHER_OUTER) }));
      const named = owners.map((node, place) => ({ node, at: (ends[place][0] + ends[place][1]) / 2 })).filter(({ node }) => node.percent >= LABEL_PERCENT_MIN);
      const label = () => draw('text', {}, draw('tspan', { class: 'name' }), draw('tspan', { class: 'share' }));
      keep(labels, named, ({ node }) => node.id, label, (text, { node, at }) => {
        const [x, y] = point(owners.length === 1 ? 0.25 : at, LABEL_AT);
        const anchor = Math.abs(x - MIDDLE_X) < 30 ? 'middle' : x > MIDDLE_X ? 'start' : 'end';
        const down = node.isDown || node.state === 'down' ? '✕ ' : node.state === 'drained' ? '– ' : '';
        set(text, { x, y, 'text-anchor': anchor });
        set(text.children[0], { x, y: y + (anchor === 'middle' ? (y < MIDDLE_Y ? -14 : 8) : -4) });
        set(text.children[1], { x, dy: 18 });
        say(text.children[0], down + (node.id.length > LABEL_LETTERS_MAX ? `${node.id.slice(0, LABEL_LETTERS_MAX - 1)}…` : node.id));
        say(text.children[1], share(node.percent));
      });
    },
  };
}

/** Where each of these parts begins and ends, in parts of a turn. */
function turns(parts, whole) {
  let end = 0;
  return parts.map((part) => [end, (end += part / whole)]);
}

/** Moves an arc from where it stands to its new place; at once where motion is not liked. */
function move(name, [from, to], put) {
  const old = drawn.get(name);
  if (old?.goal[0] === from && old.goal[1] === to) return;
  const still = !old || matchMedia('(prefers-reduced-motion: reduce)').matches;
  const now = { goal: [from, to], at: still ? [from, to] : old.at };
  drawn.set(name, now);
  if (still) return put(from, to);
  const [start, begun] = [old.at, performance.now()];
  const frame = (time) => {
    if (drawn.get(name) !== now) return;
    const done = Math.min(1, Math.max(0, (time - begun) / TURN_MS));
    const eased = 1 - (1 - done) ** 3;
    now.at = [0, 1].map((end) => start[end] + (now.goal[end] - start[end]) * eased);
    put(...now.at);
    if (done < 1) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

function point(turn, radius) {
  const angle = (turn - 0.25) * 2 * Math.PI;
  return [MIDDLE_X + radius * Math.cos(angle), MIDDLE_Y + radius * Math.sin(angle)].map((at) => Math.round(at * 100) / 100);
}

/** A piece of the ring, or all of it. */
function sector(from, to, inner, outer) {
  const circle = (radius, way) => [0, 0.5, 1].map((turn) => point(turn, radius)).map((at, half) => (half ? `A${radius} ${radius} 0 1 ${way} ${at}` : `M${at}`)).join('');
  if (to - from >= 0.9999) return `${circle(outer, 1)}Z${circle(inner, 0)}Z`;
  const large = to - from > 0.5 ? 1 : 0;
  const [a, b, c, d] = [point(from, outer), point(to, outer), point(to, inner), point(from, inner)];
  return `M${a}A${outer} ${outer} 0 ${large} 1 ${b}L${c}A${inner} ${inner} 0 ${large} 0 ${d}Z`;
}
