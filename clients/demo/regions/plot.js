// The last minute of a counter in every region, as lines that part and meet; behind them, when a link was cut.
import { draw, keep, say, set } from '../../ops/elements.js';
import { short } from './links.js';

const SPAN_MS = 60_000;
const HEIGHT = 250;
const MARGIN = { left: 46, right: 74, top: 14, bottom: 26 };
const FRAME_MS = 50;
const LABEL_HEIGHT = 17;
const STEPS = 4; // lines across, at most

export function plot(root, names) {
  const [bands, grid, times, lines, dots, labels] = ['bands', 'grid', 'times', 'lines', 'dots', 'labels'].map((name) => draw('g', { class: name }));
  const svg = draw('svg', { class: 'plot', role: 'img' }, bands, grid, times, lines, dots, labels);
  root.append(svg);
  const seen = new Map(names.map((name) => [name, []])); // region → [{ at, value }], each until the next one
  const cuts = []; // { from, to } when a link was cut; `to` is null while one is
  let width = 600;
  let top = null; // the scale as it stands, which follows the values gently
  new ResizeObserver(() => { width = Math.max(260, root.clientWidth); }).observe(root);

  const frame = (now) => {
    const since = now - SPAN_MS;
    for (const points of seen.values()) while (points.length > 1 && points[1].at < since) points.shift();
    while (cuts.length && cuts[0].to !== null && cuts[0].to < since) cuts.shift();
    const values = [...seen.values()].flat().map(({ value }) => value);
    const wanted = range(values.length ? Math.min(...values) : 0, values.length ? Math.max(...values) : 0);
    const still = top === null || matchMedia('(prefers-reduced-motion: reduce)').matches;
    top = still ? wanted : [0, 1].map((end) => (Math.abs(wanted[end] - top[end]) < (wanted[1] - wanted[0]) / 500 ? wanted[end] : top[end] + (wanted[end] - top[end]) * 0.25));
    const right = width - MARGIN.right;
    const x = (at) => MARGIN.left + ((Math.max(at, since) - since) / SPAN_MS) * (right - MARGIN.left);
    const y = (value) => HEIGHT - MARGIN.bottom - ((value - top[0]) / (top[1] - top[0])) * (HEIGHT - MARGIN.bottom - MARGIN.top);
    const round = (number) => number.toFixed(1);

    set(svg, { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
    keep(bands, cuts, ({ from }) => from, () => draw('g', {}, draw('rect', { y: MARGIN.top - 8, height: HEIGHT - MARGIN.bottom - MARGIN.top + 8, rx: 6 }), draw('text', { y: MARGIN.top + 7 })), (band, { from, to }) => {
      const [left, end] = [x(from), x(to ?? now)];
      set(band.children[0], { x: round(left), width: round(Math.max(2, end - left)) });
      set(band.children[1], { x: round(left + 7) });
      say(band.children[1], end - left > 60 ? 'link cut' : '');
    });
    keep(grid, ticks(top), (value) => value, () => draw('g', {}, draw('path'), draw('text', { x: MARGIN.left - 9, 'text-anchor': 'end' })), (line, value) => {
      set(line.children[0], { d: `M${MARGIN.left} ${round(y(value))}H${right}` });
      set(line.children[1], { y: round(y(value) + 4) });
      say(line.children[1], short(value));
    });
    keep(times, width < 420 ? [60, 30, 0] : [60, 40, 20, 0], (seconds) => seconds, () => draw('text', { y: HEIGHT - 7, 'text-anchor': 'middle' }), (text, seconds) => {
      set(text, { x: round(x(now - seconds * 1_000)), 'text-anchor': seconds === 60 ? 'start' : 'middle' });
      say(text, seconds ? `${seconds} s ago` : 'now');
    });
    const drawn = [...seen].filter(([, points]) => points.length);
    keep(lines, drawn, ([name]) => name, ([name]) => set(draw('path'), { 'data-region': name }), (path, [, points], place) => {
      // Lines that lie on one another stay visible: each is a little beside the next.
      const aside = (place - (drawn.length - 1) / 2) * 2.2;
      const steps = points.map(({ at, value }, index) => `${index ? `H${round(x(at))}V` : `M${round(x(at))} `}${round(y(value) + aside)}`);
      set(path, { d: `${steps.join('')}H${round(x(now))}` });
    });
    const last = drawn.map(([name, points], place) => ({ name, value: points.at(-1).value, aside: (place - (drawn.length - 1) / 2) * 2.2 }));
    keep(dots, last, ({ name }) => name, ({ name }) => draw('circle', { r: 4, 'data-region': name }), (dot, { value, aside }) => set(dot, { cx: right, cy: round(y(value) + aside) }));
    keep(labels, spread(last.map((one) => ({ ...one, y: y(one.value) })), MARGIN.top, HEIGHT - MARGIN.bottom), ({ name }) => name, ({ name }) => draw('text', { 'data-region': name, x: 0 }, draw('tspan', { class: 'name' }), draw('tspan', { dx: 6 })), (label, one) => {
      set(label, { x: right + 10, y: round(one.y + 4.5) });
      say(label.children[0], one.name);
      say(label.children[1], short(one.value));
    });
  };

  let drawnMs = 0;
  const loop = () => {
    const now = Date.now();
    if (!document.hidden && now - drawnMs >= FRAME_MS) {
      drawnMs = now;
      frame(now);
    }
    requestAnimationFrame(loop);
  };
  requestAnimationFrame(loop);

  return {
    /** A region's value from now on. */
    push(name, value) {
      const points = seen.get(name);
      if (points.at(-1)?.value !== value) points.push({ at: Date.now(), value });
    },
    /** Whether a link is cut from now on. */
    cut(is) {
      const open = cuts.at(-1)?.to === null;
      if (is && !open) cuts.push({ from: Date.now(), to: null });
      if (!is && open) cuts.at(-1).to = Date.now();
    },
    /** The same in words. */
    describe(text) {
      set(svg, { 'aria-label': text });
    },
  };
}

/** A scale with room above and below, never flat. */
function range(least, most) {
  const room = Math.max(1.5, (most - least) * 0.12);
  return [least >= 0 ? Math.max(0, least - room) : least - room, most + room];
}

/** Round numbers within the scale. */
function ticks([from, to]) {
  const rough = (to - from) / STEPS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough));
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.max(0, Math.floor(to / step) - first + 1) }, (_, at) => (first + at) * step);
}

/** Moves labels apart that would lie on one another, within bounds, in the order of their heights. */
function spread(labels, top, bottom) {
  const placed = [...labels].sort((one, other) => one.y - other.y);
  placed.forEach((label, at) => { label.y = Math.max(label.y, at ? placed[at - 1].y + LABEL_HEIGHT : top); });
  for (let at = placed.length - 1; at >= 0; at -= 1) placed[at].y = Math.min(placed[at].y, at === placed.length - 1 ? bottom : placed[at + 1].y - LABEL_HEIGHT);
  return labels;
}
