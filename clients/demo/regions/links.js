// The links between the regions: a picture in which a link can be clicked, and for each link a row with all that can be wrong with it.
import { draw, keep, make, number, say, set, span } from '../../ops/elements.js';

// Sizes of the picture: for up to three regions, and for more, whose links cross.
const FEW = { width: 320, height: 262, x: 116, y: 92, node: 40, badge: { x: 41, y: 14 } };
const MANY = { width: 600, height: 500, x: 236, y: 196, node: 46, badge: { x: 35, y: 13 } };
const GAP = 7; // free around a badge where its link is cut
const ORDER_MS = 120; // a slider that moves gives an order this often

export const linkName = ({ regions: [a, b] }) => `${a}–${b}`;

/** `on.order(link, {up?, delay_ms?, loss_percent?})` asks for a change, within `on.bounds`; `on.count` is how many regions there are. */
export function linksPanel(picture, controls, on) {
  const size = on.count > 3 ? MANY : FEW;
  const { node: radius, badge: half } = size;
  const [lines, nodes, badges] = ['lines', 'nodes', 'badges'].map((name) => draw('g', { class: name }));
  const svg = draw('svg', { viewBox: `0 0 ${size.width} ${size.height}`, role: 'group', 'aria-label': 'Regions and the links between them' }, lines, badges, nodes);
  picture.append(svg);

  const turn = (link) => on.order(link, { up: !link.up });
  const newBadge = (link) => {
    const badge = draw('g', { class: 'badge', role: 'button', tabindex: 0 }, draw('rect', { width: 2 * half.x, height: 2 * half.y, x: -half.x, y: -half.y, rx: half.y }), draw('text', { 'text-anchor': 'middle', y: 4.5 }));
    badge.addEventListener('click', () => turn(badge.link));
    badge.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      turn(badge.link);
    });
    return badge;
  };
  const newLine = () => {
    const line = draw('g', {}, draw('path', { class: 'wire' }), draw('path', { class: 'flow' }), draw('path', { class: 'hit' }));
    line.addEventListener('click', () => turn(line.link));
    return line;
  };
  const newNode = () => draw('g', {}, draw('circle', { r: radius }), draw('text', { class: 'name', 'text-anchor': 'middle', y: -3 }), draw('text', { class: 'value', 'text-anchor': 'middle', y: 17 }));

  return {
    /** `lag(one, other)` says how many milliseconds the latest like between two regions took. */
    show({ regions, links }, lag) {
      const places = new Map(regions.map((region, at) => [region.name, place(at, regions.length, size)]));
      keep(lines, links, linkName, newLine, (line, link) => {
        line.link = link;
        const [from, to] = ends(link.regions.map((name) => places.get(name)), radius);
        const middle = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
        const toward = (at) => {
          const way = [at[0] - middle[0], at[1] - middle[1]];
          const part = Math.min((half.x + GAP) / Math.abs(way[0]), (half.y + GAP) / Math.abs(way[1]), 1);
          return [0, 1].map((axis) => middle[axis] + way[axis] * part);
        };
        const whole = `M${from}L${to}`;
        const broken = `M${from}L${toward(from)}M${to}L${toward(to)}`;
        set(line, { class: link.up ? 'up' : 'cut' });
        line.style.setProperty('--period', `${(0.9 + link.delay_ms / 120).toFixed(2)}s`);
        set(line.children[0], { d: link.up ? whole : broken, 'stroke-dasharray': link.up && link.loss_percent ? `${Math.max(3, 26 - link.loss_percent / 2)} ${2 + link.loss_percent / 4}` : null });
        set(line.children[1], { d: link.up ? whole : null });
        set(line.children[2], { d: whole });
      });
      keep(badges, links, linkName, newBadge, (badge, link) => {
        badge.link = link;
        const [from, to] = link.regions.map((name) => places.get(name));
        const ms = link.up ? lag(...link.regions) : null;
        const text = link.up ? (ms === null ? 'up' : span(ms)) : '✕ cut';
        say(badge.children[1], text);
        set(badge, {
          class: `badge ${link.up ? 'up' : 'cut'}`, transform: `translate(${(from[0] + to[0]) / 2} ${(from[1] + to[1]) / 2})`,
          'aria-label': `Link ${linkName(link)}: ${link.up ? `up${ms === null ? '' : `, the latest like took ${text}`}. Cut it` : 'cut. Heal it'}`, 'aria-pressed': !link.up,
        });
      });
      keep(nodes, regions, ({ name }) => name, newNode, (node, region, at) => {
        set(node, { transform: `translate(${place(at, regions.length, size)})`, 'data-region': region.name });
        say(node.children[1], region.name);
        say(node.children[2], region.value === null ? '…' : short(region.value));
      });
      keep(controls, links, linkName, (link) => newRow(link, on), (row, link) => showRow(row, link));
    },
  };
}

function newRow(link, on) {
  const name = linkName(link);
  const slider = (key, label, unit, max) => {
    const input = set(make('input'), { type: 'range', min: 0, max, step: key === 'delay_ms' ? 10 : 1, 'aria-label': `${label} of ${name}, in ${unit}` });
    const text = make('output', 'amount');
    let timer = 0;
    input.addEventListener('input', () => {
      say(text, `${input.value} ${key === 'delay_ms' ? 'ms' : '%'}`);
      timer ||= setTimeout(async () => {
        timer = 0;
        await on.order(row.link, { [key]: Number(input.value) });
        input.isAhead = timer > 0;
      }, ORDER_MS);
      input.isAhead = true; // of what is known of the link
    });
    return make('label', 'slider', make('span', 'word', label), input, text);
  };
  const button = set(make('button', 'button cut'), { type: 'button' });
  button.addEventListener('click', () => on.order(row.link, { up: !row.link.up }));
  const title = make('b', '', ...link.regions.flatMap((region, at) => [...(at ? [' – '] : []), set(make('span', 'region-name', region), { 'data-region': region })]));
  const row = make('li', 'control', make('span', 'title', title, make('span', 'rate')), button, slider('delay_ms', 'Delay', 'milliseconds one way', on.bounds.delay_ms_max), slider('loss_percent', 'Loss', 'percent of segments', on.bounds.loss_percent_max));
  return row;
}

function showRow(row, link) {
  row.link = link;
  const [title, button, ...sliders] = row.children;
  say(title.children[1], link.rate === undefined ? '' : `${number(Math.round(link.rate / 100) / 10)} kB/s`);
  say(button, link.up ? 'Cut' : 'Heal');
  set(button, { class: `button cut ${link.up ? '' : 'primary'}`, 'aria-label': `${link.up ? 'Cut' : 'Heal'} the link ${linkName(link)}` });
  row.classList.toggle('is-cut', !link.up);
  sliders.forEach((slider, at) => {
    const [, input, text] = slider.children;
    if (input.isAhead || input.matches(':active')) return;
    input.value = at ? link.loss_percent : link.delay_ms;
    say(text, at ? `${link.loss_percent} %` : `${link.delay_ms} ms`);
  });
}

/** A number of at most five letters. */
export function short(value) {
  const count = Number(value);
  if (Math.abs(count) < 10_000) return number(count);
  const [letter, by] = Math.abs(count) < 1e6 ? ['k', 1e3] : Math.abs(count) < 1e9 ? ['M', 1e6] : ['G', 1e9];
  return `${(count / by).toFixed(count / by < 100 ? 1 : 0)}${letter}`;
}

/** The first region at the left below, the others from there clockwise, as the columns stand. */
function place(at, count, { width, height, x, y }) {
  const angle = Math.PI * (0.5 + 1 / count + (2 * at) / count);
  // Three regions stand higher above than below: their middle is not the picture's.
  const [lift, stretch] = count === 3 ? [28, 1.25] : [0, 1];
  return [width / 2 + x * Math.cos(angle), height / 2 + lift + y * stretch * Math.sin(angle)].map((number) => Math.round(number * 10) / 10);
}

/** Where a line between two nodes begins and ends, outside of them. */
function ends([from, to], radius) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const step = [0, 1].map((axis) => ((to[axis] - from[axis]) / length) * (radius + 4));
  return [[from[0] + step[0], from[1] + step[1]], [to[0] - step[0], to[1] - step[1]]];
}
