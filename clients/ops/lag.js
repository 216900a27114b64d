// How long the canary to each node was under way, drawn as it goes: a small line, broken where the canary was not heard.
import { draw, set } from './elements.js';

const KEPT = 60; // looks; the oldest go first
const [WIDTH, HEIGHT] = [120, 28];
const TOP_MS_MIN = 5; // so that a calm line looks calm

const seen = new Map(); // node → lags in ms, null where none was heard

/** Remembers what was seen in one look, and forgets nodes that are gone. */
export function remember(nodes) {
  for (const id of seen.keys()) if (!nodes.some((node) => node.id === id)) seen.delete(id);
  for (const node of nodes) seen.set(node.id, [...(seen.get(node.id) ?? []), node.lag].slice(-KEPT));
}

/** The lags of a node, the oldest first. */
export const lags = (id) => seen.get(id) ?? [];

/** An empty line. */
export function line() {
  return draw('svg', { class: 'line', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, draw('path', { class: 'base', d: `M0 ${HEIGHT - 2}H${WIDTH}` }), draw('path', { class: 'lag' }), draw('path', { class: 'missed' }));
}

/** Draws what is remembered of a node. */
export function show(element, id) {
  const all = lags(id);
  const heard = all.filter((ms) => ms !== null);
  const top = Math.max(TOP_MS_MIN, ...heard);
  const x = (at) => (((KEPT - all.length + at) / (KEPT - 1)) * WIDTH).toFixed(1);
  const y = (ms) => (HEIGHT - 2 - (ms / top) * (HEIGHT - 5)).toFixed(1);
  const path = all.map((ms, at) => (ms === null ? '' : `${at && all[at - 1] !== null ? 'L' : 'M'}${x(at)} ${y(ms)}${all[at + 1] === null || at === all.length - 1 ? `h.01` : ''}`));
  const missed = all.map((ms, at) => (ms === null ? `M${x(at)} ${HEIGHT - 8}v6` : ''));
  set(element.children[1], { d: path.join('') || null });
  set(element.children[2], { d: missed.join('') || null });
  const word = heard.length ? `at most ${Math.max(...heard)} ms` : 'never heard';
  set(element, { 'aria-label': `Canary lag in the last ${all.length} looks: ${word}, not heard in ${all.length - heard.length}` });
}
