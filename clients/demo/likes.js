// Likes as one person presses them: a heart is on or off, in all of the person's tabs alike. How many have it on is told by its counter,
// and of several things, which of them most people like, by the list of the greatest.
import { Lost } from './client.js';
import { make, roll } from './faces.js';

const LOOK_MS = 500; // after a count has changed, until it is asked whether another tab of mine has done that
const RETRY_MS = 1_000;
const ROOM = 'likes:lobby';
const SONGS = [
  { key: 'songs:salt-and-neon', title: 'Salt and Neon', by: 'Harbour Kids', color: '#0f766e' },
  { key: 'songs:slow-train-home', title: 'Slow Train Home', by: 'The Understudies', color: '#b45309' },
  { key: 'songs:northern-lights', title: 'Northern Lights', by: 'Ada Frost', color: '#4338ca' },
  { key: 'songs:four-in-the-morning', title: 'Four in the Morning', by: 'Night Desk', color: '#be185d' },
];
const HEART = 'M12 21s-8.5-5.2-8.5-11.4A4.8 4.8 0 0 1 12 6.7a4.8 4.8 0 0 1 8.5 2.9C20.5 15.8 12 21 12 21z';

const $ = (id) => document.getElementById(id);

/** What one person likes. `onChange(key)` hears of hearts that may look otherwise now. */
class Hearts {
  #client; #onChange; #hearts; #asking = 0; #answered = 0;

  constructor(client, keys, onChange) {
    [this.#client, this.#onChange] = [client, onChange];
    this.#hearts = new Map(keys.map((key) => [key, { on: false, wanted: null, isUnderWay: false, trouble: '' }]));
  }

  /** `{ isOn, isWaiting, trouble }`; as it was pressed, also before the server has answered. */
  of(key) {
    const { on, wanted, trouble } = this.#hearts.get(key);
    return { isOn: wanted ?? on, isWaiting: wanted !== null, trouble };
  }

  press(key) {
    Object.assign(this.#hearts.get(key), { wanted: !this.of(key).isOn, trouble: '' });
    this.#onChange(key);
    this.#send(key);
  }

  /** What was pressed meanwhile goes out. To say a vote again does no harm: it counts once. */
  connected() {
    this.#hearts.forEach((_, key) => this.#send(key));
    this.#ask();
  }

  /** A count has changed, perhaps by another tab of mine. */
  counted() {
    this.#asking ||= setTimeout(() => this.#ask(), LOOK_MS);
  }

  async #send(key) {
    const heart = this.#hearts.get(key);
    if (heart.wanted === null || heart.isUnderWay) return;
    const on = heart.wanted;
    heart.isUnderWay = true;
    const error = await this.#client.rpc('counter.vote', { key, on }).then(() => null, (refused) => refused);
    heart.isUnderWay = false;
    this.#answered += 1;
    if (error instanceof Lost) return; // it goes again after the reconnect
    if (error?.temporary) setTimeout(() => this.#send(key), RETRY_MS);
    else if (error) Object.assign(heart, { wanted: null, trouble: error.message });
    else Object.assign(heart, { on, wanted: heart.wanted === on ? null : heart.wanted });
    if (!error) this.#send(key); // it was pressed once more meanwhile
    this.#onChange(key);
  }

  async #ask() {
    clearTimeout(this.#asking);
    this.#asking = 0;
    const before = this.#answered;
    const voted = await this.#client.rpc('counter.voted', { keys: [...this.#hearts.keys()] }).catch(() => null);
    if (!voted) return;
    if (before !== this.#answered) return this.counted(); // a vote of this tab came between
    for (const [key, heart] of this.#hearts) {
      heart.on = voted.keys.includes(key);
      this.#onChange(key);
    }
  }
}

/** The likes of the room and of the songs, on the page. `isConnected()` says whether what is pressed goes out at once. */
export class Likes {
  #hearts; #isConnected; #isComplete = true; #counts = new Map();
  #places = new Map(); #isPressed = false; // the order as it was told, which waits while a finger is on the list

  constructor(client, isConnected) {
    this.#isConnected = isConnected;
    this.#hearts = new Hearts(client, [ROOM, ...SONGS.map(({ key }) => key)], (key) => this.#show(key));
    client.subscribe(`counter:${ROOM}`, {}, {
      publication: ({ data }) => this.#counted(data),
      ended: (error) => this.#ended(error),
    });
    client.subscribe('top:songs', {}, {
      publication: ({ data }) => this.#ranked(data),
      ended: () => ($('trending').hidden = true),
    });
    $('like').onclick = () => this.#press(ROOM, $('like'));
    $('songs').append(...SONGS.map((song) => this.#row(song)));
    $('songs').addEventListener('pointerdown', () => (this.#isPressed = true));
    for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => this.#isPressed && setTimeout(() => this.#released()));
    roll($('likes'), '0');
    this.show();
  }

  connected() {
    this.#hearts.connected();
  }

  /** Anew, for the connection has come or gone. */
  show() {
    [ROOM, ...SONGS.map(({ key }) => key)].forEach((key) => this.#show(key));
  }

  #press(key, button) {
    this.#hearts.press(key);
    if (this.#hearts.of(key).isOn) burst(button);
  }

  #counted({ value_s: value, complete }) {
    if (value === undefined) return;
    this.#isComplete = complete !== false;
    this.#counts.set(ROOM, value);
    roll($('likes'), BigInt(value).toLocaleString());
    this.#hearts.counted();
    this.#show(ROOM);
  }

  #ended(error) {
    $('like').disabled = true;
    $('likes-hint').textContent = error.code === 102 ? 'this server has no namespace “likes” of type “unique”' : `not to be seen: ${error.message}`;
  }

  /** The songs that anybody likes, the one that most like first; the others stay as they stand, behind them. */
  #ranked({ counters }) {
    this.#places = new Map(counters.map(({ key }, place) => [key, place]));
    const values = new Map(counters.map(({ key, value_s: value }) => [key, value]));
    SONGS.forEach(({ key }) => this.#counts.set(key, values.get(key) ?? '0'));
    this.#reorder();
    this.#hearts.counted();
    this.show();
  }

  /** A row that moves between pressing and releasing would not be pressed. */
  #reorder() {
    if (!this.#isPressed) reorder($('songs'), (row) => this.#places.get(row.dataset.key) ?? Infinity);
  }

  #released() {
    this.#isPressed = false;
    this.#reorder();
  }

  #row({ key, title, by, color }) {
    const art = make('span', 'art', title[0]);
    art.ariaHidden = 'true';
    art.style.setProperty('--color', color);
    const button = make('button', 'like small', heartSign());
    button.type = 'button';
    button.onclick = () => this.#press(key, button);
    const row = make('li', 'song', art, make('p', 'title', make('b', '', title), make('span', '', by)), make('span', 'amount'), button);
    row.dataset.key = key;
    return row;
  }

  #show(key) {
    const { isOn, isWaiting, trouble } = this.#hearts.of(key);
    const count = this.#counts.get(key) ?? '0';
    const row = key !== ROOM && [...$('songs').children].find((one) => one.dataset.key === key);
    const button = row ? row.querySelector('.like') : $('like');
    button.ariaPressed = String(isOn);
    button.toggleAttribute('data-waits', isWaiting);
    button.ariaLabel = row ? `Like ${row.querySelector('b').textContent}. ${count} so far` : `Like this room. ${count} so far`;
    if (row) row.querySelector('.amount').textContent = BigInt(count).toLocaleString();
    if (row || button.disabled) return;
    const waits = isWaiting && !this.#isConnected();
    $('likes-hint').textContent = trouble ? `not counted: ${trouble}`
      : waits ? `${isOn ? 'counts' : 'is taken back'} when you are back`
      : !this.#isComplete ? 'some regions are out of reach'
      : isOn ? 'you like it, in all your tabs' : 'one like per person';
  }
}

function heartSign() {
  const [svg, path] = ['svg', 'path'].map((tag) => document.createElementNS('http://www.w3.org/2000/svg', tag));
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.ariaHidden = 'true';
  path.setAttribute('d', HEART);
  svg.append(path);
  return svg;
}

/** Puts the rows in order, each gliding to its place; the focus stays where it is. */
function reorder(list, placeOf) {
  const rows = [...list.children];
  const sorted = [...rows].sort((one, other) => placeOf(one) - placeOf(other) || 0);
  if (sorted.every((row, place) => row === rows[place])) return;
  const before = new Map(rows.map((row) => [row, row.getBoundingClientRect().top]));
  const focused = list.contains(document.activeElement) && document.activeElement;
  list.append(...sorted);
  if (focused) focused.focus({ preventScroll: true });
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  for (const row of rows) {
    const by = before.get(row) - row.getBoundingClientRect().top;
    if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: 'none' }], { duration: 450, easing: 'cubic-bezier(.2, .9, .25, 1)' });
  }
}

function burst(button) {
  const heart = make('span', 'heart', '♥');
  heart.style.setProperty('--drift', `${Math.round(Math.random() * 60 - 30)}px`);
  heart.ariaHidden = 'true';
  heart.onanimationend = () => heart.remove();
  button.append(heart);
  if (!heart.getAnimations().length) heart.remove();
}
