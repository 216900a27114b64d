// How people and numbers look on the demo pages: names, colours, avatars, and digits that roll.

const ADJECTIVES = 'Brisk Calm Clever Cosmic Dapper Fuzzy Gentle Jolly Lucky Mellow Nimble Plucky Quiet Rapid Sunny Witty'.split(' ');
const ANIMALS = 'Badger Crane Dolphin Falcon Gecko Heron Ibis Koala Lemur Lynx Marten Otter Panda Puffin Tapir Wombat'.split(' ');
const COLORS = '#c2410c #b45309 #4d7c0f #047857 #0f766e #0369a1 #1d4ed8 #4338ca #6d28d9 #a21caf #be185d #be123c'.split(' ');

const pick = (list) => list[Math.floor(Math.random() * list.length)];

/** A new element with children; strings become text, never markup. */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

/**
 * A UUID of version 7 (RFC 9562). The server judges its age by its own clock, so the time is the server's: `skewMs` says how far it is
 * ahead of this page's.
 */
export function uuid7(skewMs = 0) {
  const random = crypto.getRandomValues(new Uint8Array(10));
  random[0] = 0x70 | (random[0] & 0x0f);
  random[2] = 0x80 | (random[2] & 0x3f);
  const time = Math.round(Date.now() + skewMs).toString(16).padStart(12, '0');
  const hex = time + Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Turns the digits of `element` like an odometer, each wheel from where it stands. */
export function roll(element, text) {
  const glyphs = [...text].reverse();
  const wheels = [...element.children].reverse();
  wheels.slice(glyphs.length).forEach((wheel) => wheel.remove());
  glyphs.forEach((glyph, place) => {
    let wheel = wheels[place];
    if (!wheel) element.prepend((wheel = make('span', '', make('span', ''))));
    const digit = /\d/.test(glyph);
    wheel.className = digit ? 'wheel' : 'sign';
    wheel.firstChild.textContent = digit ? '0\n1\n2\n3\n4\n5\n6\n7\n8\n9' : glyph;
    wheel.getBoundingClientRect(); // a new wheel stands at 0 first, and turns from there
    wheel.style.setProperty('--digit', digit ? glyph : 0);
  });
  element.dataset.value = text;
}

/** The same colour for the same id, everywhere. */
export function colorOf(id) {
  const hash = [...id].reduce((sum, letter) => Math.imul(sum ^ letter.codePointAt(0), 0x01000193) >>> 0, 0x811c9dc5); // FNV-1a
  return COLORS[((hash ^ (hash >>> 16)) >>> 0) % COLORS.length];
}

/** A member's id on this page: a client without a user is a member under its client id. */
export const idOf = ({ user, client: id }) => user || id;

/** How a member looks: what its `conn_info` says, and something stable where it says nothing. */
export function face(info) {
  const id = idOf(info) ?? '';
  const { name, color } = info.conn_info ?? {};
  return {
    id,
    name: (typeof name === 'string' && name.trim().slice(0, 40)) || info.user || `Guest ${id.slice(0, 4)}`,
    color: /^#[0-9a-f]{6}$/i.test(color) ? color : colorOf(id),
  };
}

/** Puts a face on an avatar. */
export function paint(avatar, { name, color }) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const words = name.split(/\s+/).filter(Boolean);
  avatar.textContent = (words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : name.slice(0, 2)).toUpperCase();
  avatar.style.setProperty('--color', color);
  avatar.classList.toggle('pale', red * 0.299 + green * 0.587 + blue * 0.114 > 150);
  return avatar;
}

/** Somebody new. */
export const newName = () => `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;
