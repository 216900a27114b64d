// Small lines of what was measured in the last looks, broken where there was nothing.
import { draw, set } from './elements.js';

const KEPT = 60; // looks; the oldest go first
const [WIDTH, HEIGHT] = [120, 28];

const seen = new Map(); // kind → name → values, the oldest first, null where there was none

/** Remembers the values of one look by their names, and forgets names of this kind that are gone. */
export function remember(kind, values) {
  const before = seen.get(kind);
  seen.set(kind, new Map(Object.entries(values).map(([name, value]) => [name, [...(before?.get(name) ?? []), value ?? null].slice(-KEPT)])));
}

/** The values of a name, the oldest first. */
const valuesOf = (kind, name) => seen.get(kind)?.get(name) ?? [];

/** An empty line. */
export function line() {
  return draw('svg', { class: 'line', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, draw('path', { class: 'base', d: `M0 ${HEIGHT - 2}H${WIDTH}` }), draw('path', { class: 'value' }), draw('path', { class: 'missed' }));
}

/**
 * Draws what is remembered of a name, from 0 to the highest value, or to `least` if that is more, so that a calm line looks calm.
 * `describe` puts it into words: how many looks, the values, and how many are missing.
 */
export function show(element, kind, name, least, describe) {
  const all = valuesOf(kind, name);
  const known = all.filter((value) => value !== null);
  const top = Math.max(least, ...known);
  const x = (at) => (((KEPT - all.length + at) / (KEPT - 1)) * WIDTH).toFixed(1);
  const y = (value) => (HEIGHT - 2 - (value / top) * (HEIGHT - 5)).toFixed(1);
  const path = all.map((value, at) => (value === null ? '' : `${at && all[at - 1] !== null ? 'L' : 'M'}${x(at)} ${y(value)}${all[at + 1] === null || at === all.length - 1 ? `h.01` : ''}`));
  const missed = all.map((value, at) => (value === null ? `M${x(at)} ${HEIGHT - 8}v6` : ''));
  set(element.children[1], { d: path.join('') || null });
  set(element.children[2], { d: missed.join('') || null });
  set(element, { 'aria-label': describe(all.length, known, all.length - known.length) });
}
