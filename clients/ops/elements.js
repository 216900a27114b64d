// What panels are made of: elements, lists that keep what stands in them, and words for numbers.

const SVG = 'http://www.w3.org/2000/svg';

/** A new element with children; strings become text, never markup. */
export function make(tag, className = '', ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A new element of a picture. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Sets attributes that differ; `null` takes one away. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
  return element;
}

/**
 * Text, with commands in `backticks`. It is written only when it differs, so that a selection in it stays and nothing is
 * read out again.
 */
export function say(element, text) {
  if (element.textContent === text.replaceAll('`', '')) return element;
  element.replaceChildren(...text.split('`').map((part, at) => (at % 2 ? make('code', '', part) : part)));
  return element;
}

/**
 * Children of `parent`, one for each item, in order. Those of items that stay are the same elements, so that focus and
 * selection stay too.
 */
export function keep(parent, items, key, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const name = String(key(item));
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    update(child, item, place);
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
  old.forEach((child) => child.remove());
}

/** A table whose rows are kept; `columns` are headings. */
export function table(caption, columns) {
  const body = make('tbody');
  const head = make('tr', '', ...columns.map((column) => set(make('th', '', column), { scope: 'col' })));
  const element = make('table', '', make('caption', 'unseen', caption), make('thead', '', head), body);
  // Where it is too wide, it is moved by keys, too.
  return { element: set(make('div', 'wide', element), { role: 'region', 'aria-label': caption, tabindex: 0 }), body };
}

/** A list of what there is most of, each with a bar as long as its size. */
export function ranking() {
  const element = make('ol', 'ranking');
  const create = () => make('li', '', make('b'), make('span', 'number'), make('span', 'soft number'), draw('svg', { class: 'size', viewBox: '0 0 100 4', preserveAspectRatio: 'none', 'aria-hidden': true }, draw('path')));
  const show = (items) => {
    const top = Math.max(1, ...items.map(({ size }) => size));
    keep(element, items, ({ name }) => name, create, (row, { name, size, words, more }) => {
      const [title, much, rest, bar] = row.children;
      if (title.textContent !== name) title.title = title.textContent = name; // the first where it is cut off
      say(much, words);
      say(rest, more);
      set(bar.firstChild, { d: `M0 2H${((size / top) * 100).toFixed(1)}` });
    });
  };
  return { element, show };
}

/** A word with a sign before it: neither colour nor form alone has to be understood. */
export function mark(element, tone, text) {
  const signs = { good: '✓', warn: '▲', bad: '✕', none: '·' };
  element.className = `mark ${tone}`;
  say(element, `${signs[tone]} ${text}`);
  return element;
}

export const number = (value) => value.toLocaleString('en');
/** A number of any size in few letters. */
export const amount = (value) => (value >= 10_000 ? value.toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 }) : value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 }));
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
export const share = (percent) => `${percent.toFixed(1)} %`;

/** Milliseconds in words. */
export function span(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 100_000) return `${Math.round(ms / 1_000)} s`;
  if (ms < 100 * 60_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** How long a canary was under way. */
export const lag = (ms) => (ms === null || ms === undefined ? 'not heard' : ms < 1 ? '< 1 ms' : `${number(ms)} ms`);
