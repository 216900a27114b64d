// The demo page: who is here, a chat; likes are in likes.js.
import { Client, Lost } from './client.js';
import { colorOf, face, idOf, make, newName, paint, roll, uuid7 } from './faces.js';
import { Likes } from './likes.js';

const CHAT_MAX = 300; // lines kept in the log; the oldest go first
const OUTBOX_MAX = 50; // messages waiting for the connection; one more is refused, with a word why
const PEOPLE_SHOWN = 60; // avatars drawn; the rest is a number
const NOTICED_MS = 2_000; // an absence shorter than this goes without a word when nothing was missed
const GROUP_MS = 5 * 60_000; // messages of one person this close together share one name

const $ = (id) => document.getElementById(id);

// Who I am: one person per tab, the same one after a reload.

const memory = {
  read: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
  write: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* private mode: this page only */ } },
};

function newcomer() {
  const asked = new URLSearchParams(location.search).get('user')?.slice(0, 64);
  const name = asked ? asked[0].toUpperCase() + asked.slice(1, 24) : newName();
  const user = asked || `${name.toLowerCase().replace(' ', '-')}-${Math.random().toString(36).slice(2, 5)}`;
  return { asked, user, name, color: colorOf(user) };
}

function recall() {
  const fresh = newcomer();
  const known = JSON.parse(memory.read('me') ?? 'null');
  return known && (!fresh.asked || fresh.asked === known.user) ? known : fresh;
}

const me = recall();

async function token() {
  const body = JSON.stringify({ user: me.user, info: { name: me.name, color: me.color } });
  const answer = await fetch('/v1/development/token', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  if (answer.ok) return (await answer.json()).token;
  if (answer.status === 404) return memory.read('token') ?? askForToken('');
  throw new Error(`no token: ${answer.status}`);
}

function askForToken(error) {
  $('key-error').textContent = error;
  if (!$('key').open) $('key').showModal();
  return new Promise((done) => {
    $('key-form').onsubmit = () => {
      const pasted = $('token').value.trim();
      memory.write('token', pasted);
      adopt(pasted);
      done(pasted);
    };
  });
}

/** I am whom my token names. */
function adopt(pasted) {
  try {
    const bytes = Uint8Array.from(atob(pasted.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0));
    const { sub = '', info } = JSON.parse(new TextDecoder().decode(bytes));
    const { name, color } = face({ user: sub, client: 'me', conn_info: info });
    Object.assign(me, { user: sub, name, color });
    showMe();
  } catch { /* not a token that we can read: the server will say so */ }
}

const myId = () => me.user || client.id;

function showMe() {
  memory.write('me', JSON.stringify(me));
  paint($('me-avatar'), me);
  $('me-name').textContent = me.name;
}

// Who is here: a snapshot first, then changes. Whoever drops off for a moment is never missing.

const roster = new Map(); // id → member

function onPresence(change) {
  // A snapshot says whether it may be old; later a push of its own says when that changes.
  if (change.snapshot || 'stale' in change) document.body.toggleAttribute('data-stale', change.stale === true);
  if (!change.version) return;
  const before = change.snapshot && new Map(roster);
  if (before) roster.clear();
  for (const member of [...(change.snapshot ?? []), ...(change.join ?? []), ...(change.update ?? [])]) roster.set(idOf(member), member);
  for (const member of change.leave ?? []) roster.delete(idOf(member));
  showRoster(change.count ?? roster.size);
  if (change.next) client.request('presence_stats', { channel: 'lobby' }).then((stats) => showRoster(stats.num_users), () => {});
  const named = (members) => members.map((member) => face(member).name).join(', ');
  if (change.join?.length) $('roster-status').textContent = `${named(change.join)} joined. ${roster.size} here.`;
  if (change.leave?.length) $('roster-status').textContent = `${named(change.leave)} left. ${roster.size} here.`;
}

function showRoster(count) {
  const shown = [...roster].sort(([a], [b]) => (b === myId()) - (a === myId())).slice(0, PEOPLE_SHOWN);
  const wanted = new Set(shown.map(([id]) => id));
  const tiles = new Map([...$('people').children].map((tile) => [tile.dataset.user, tile]));
  tiles.forEach((tile, id) => wanted.has(id) || tile.classList.contains('leaving') || depart(tile));
  shown.forEach(([id, member], place) => {
    const old = tiles.get(id);
    const tile = old && !old.classList.contains('leaving') ? old : newTile(id);
    const look = face(member);
    const devices = member.num_clients ?? 1;
    paint(tile.querySelector('.avatar'), look);
    tile.querySelector('.name').textContent = look.name;
    tile.querySelector('.also').textContent = [id === myId() && 'you', devices > 1 && `${devices} devices`].filter(Boolean).join(' · ');
    if ($('people').children[place] !== tile) $('people').insertBefore(tile, $('people').children[place] ?? null);
  });
  $('people').dataset.more = count > shown.length ? `+${count - shown.length} more` : '';
  $('alone').hidden = count > 1 || count === 0;
  $('count-text').textContent = `: ${count}`;
  roll($('count'), count.toLocaleString());
  document.title = count > 1 ? `(${count}) Headcount` : 'Headcount';
}

function newTile(id) {
  const tile = make('li', 'person', make('span', 'avatar'), make('span', 'name'), make('span', 'also'));
  tile.firstChild.ariaHidden = 'true';
  tile.dataset.user = id;
  return tile;
}

function depart(tile) {
  tile.classList.add('leaving');
  Promise.allSettled(tile.getAnimations().map((animation) => animation.finished)).then(() => tile.remove());
}

// The chat. What is written while the connection is down waits here, and goes out after the missed messages have come in.

const outbox = new Map(); // id → { text, line, sent }
const seen = new Set(); // ids of messages on the page: one sent again after a lost reply shows once
let newest = { epoch: '', offset: 0, user: '', time: 0 };
let atEnd = true; // whether the reader stands at the end of the log, and wants to stay there
let held = []; // publications that came while the history was on its way; null when it has arrived

const lobby = {
  async subscribed({ was_recovering: returning, recovered, publications = [], epoch = '' }) {
    if (returning && recovered && !held) {
      const missed = publications.filter(({ data }) => !outbox.has(data?.id)).length; // mine whose receipt was lost are not news
      if (missed) note(`You missed ${missed} message${missed > 1 ? 's' : ''}: recovered`, 'good');
      else if (away.forMs > NOTICED_MS) note('You are back, and missed nothing', 'good');
      queueMicrotask(flushOutbox); // after what was missed has been shown
      return;
    }
    if (returning && !recovered) note('History was lost while you were away: messages may be missing here', 'bad');
    held ??= [];
    if (newest.epoch !== epoch) newest = { epoch, offset: 0, user: '', time: 0 };
    const history = await client.request('history', { channel: 'lobby', limit: 50, reverse: true }).catch((error) => error);
    if (history instanceof Lost) return; // and start over with the next connection
    const waiting = held;
    held = null;
    [...(history.publications ?? []).reverse(), ...waiting].forEach(showMessage);
    flushOutbox();
  },
  publication: (publication) => (held ? held.push(publication) : showMessage(publication)),
  join: (info) => idOf(info) !== myId() && note(`${face(info).name} joined`),
  leave: (info) => idOf(info) !== myId() && note(`${face(info).name} left`),
  ended: (error) => note(`You cannot read the lobby: ${error.message}. Ask for a token that may subscribe to it.`, 'bad'),
};

function showMessage({ data, info, offset = 0, time = Date.now() }) {
  if (offset && offset <= newest.offset) return;
  if (offset) newest.offset = offset;
  const sender = face(info ?? { client: 'service', conn_info: { name: 'Service', color: '#52525b' } });
  const key = `${sender.id}/${data?.id}`;
  const text = typeof data?.text === 'string' ? data.text : JSON.stringify(data);
  if (data?.id && seen.has(key)) return;
  if (data?.id) seen.add(key);
  settle(data?.id);
  const follows = newest.user === sender.id && time - newest.time < GROUP_MS;
  Object.assign(newest, { user: sender.id, time });
  say(sender, text, time, { follows }).dataset.key = key;
}

function say(sender, text, time, marks) {
  const clock = new Date(time);
  const stamp = make('time', '', clock.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
  stamp.dateTime = clock.toISOString();
  const avatar = paint(make('span', 'avatar small'), sender);
  avatar.ariaHidden = 'true';
  const line = make('li', 'line', avatar, make('p', 'by', make('b', '', sender.name), ' ', stamp), make('p', 'text', text));
  for (const [mark, on] of Object.entries({ mine: sender.id === myId(), ...marks })) line.classList.toggle(mark, on);
  return append(line);
}

function note(text, tone = 'quiet') {
  newest.user = '';
  append(make('li', `note ${tone}`, text));
}

function append(line) {
  const log = $('log');
  const waiting = log.querySelector('.waiting');
  log.insertBefore(line, line.classList.contains('mine') ? null : waiting);
  while (log.children.length > CHAT_MAX) {
    seen.delete(log.firstChild.dataset.key);
    log.firstChild.remove();
  }
  $('quiet').hidden = log.querySelector('.line') !== null;
  if (line.classList.contains('mine')) atEnd = true;
  if (atEnd) log.scrollTop = log.scrollHeight;
  $('newer').hidden = atEnd;
  return line;
}

function write(text) {
  if (outbox.size >= OUTBOX_MAX) return complain(`${OUTBOX_MAX} messages wait for the connection already. Try again when it is back.`);
  const line = say({ id: myId(), name: me.name, color: me.color }, text, Date.now(), { follows: newest.user === myId(), waiting: true });
  outbox.set(uuid7(client.skewMs), { text, line, sent: false });
  flushOutbox();
}

function flushOutbox() {
  for (const [id, { text, line, sent }] of outbox) {
    if (sent || held) continue;
    outbox.get(id).sent = true;
    client.request('publish', { channel: 'lobby', data: { id, text } }).then(
      () => line.classList.remove('waiting'),
      (error) => {
        if (error instanceof Lost) return outbox.has(id) && (outbox.get(id).sent = false);
        outbox.delete(id);
        line.remove();
        $('text').value ||= text;
        complain(`Not sent: ${error.message}. ${error.temporary ? 'Try again in a moment.' : 'Your token may not write here.'}`);
      },
    );
  }
}

function settle(id) {
  outbox.get(id)?.line.remove();
  outbox.delete(id);
}

function complain(text) {
  $('composer-error').textContent = text;
}

// The connection, and what to say about it.

let state = 'connecting';
const away = { since: 0, forMs: 0 };
let countdown = 0;

const PILL = {
  connecting: () => 'Connecting',
  connected: () => 'Connected',
  waiting: ({ until }) => {
    const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
    return `${navigator.onLine ? 'Reconnecting' : 'Offline, trying'} in ${seconds} s`;
  },
  left: () => 'You left',
  refused: () => 'Not admitted',
};

function onState(name, detail = {}) {
  state = name;
  clearInterval(countdown);
  const show = () => ($('pill-text').textContent = PILL[name](detail));
  show();
  if (name === 'waiting') countdown = setInterval(show, 250);
  $('pill').dataset.state = name === 'waiting' && !navigator.onLine ? 'offline' : name;
  document.body.dataset.state = name === 'connecting' && away.since ? 'waiting' : name; // an attempt is not yet a return
  $('notice').hidden = name !== 'left' && name !== 'refused';
  if (name === 'left') notice('You left the room; everybody saw you go at once.', 'Come back');
  if (name === 'refused') refused(detail);
  if (name === 'waiting') away.since ||= Date.now();
  if (name === 'connected') {
    Object.assign(away, { since: 0, forMs: away.since && Date.now() - away.since });
    likes.connected();
  }
  likes.show();
}

function notice(text, action) {
  $('notice-text').textContent = text;
  $('notice-button').textContent = action;
}

function refused({ code, reason }) {
  notice(`The server ended this connection: ${reason || 'no reason given'} (${code}).`, 'Try again');
  if (code === 3500 && memory.read('token')) {
    memory.write('token', '');
    askForToken('The server does not accept that token. Paste another one.').then(() => client.connect());
  }
}

const client = new Client(`${location.origin.replace(/^http/, 'ws')}/connection/websocket`, token, onState);
client.subscribe('lobby', { recoverable: true, join_leave: true }, lobby);
client.subscribe('presence:lobby', {}, {
  publication: ({ data }) => onPresence(data),
  ended: (error) => note(`You cannot see who is here: ${error.message}. Ask for a token that may.`, 'bad'),
});
const likes = new Likes(client, () => state === 'connected');

$('composer').onsubmit = (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  complain('');
  $('text').value = '';
  if (text) write(text);
};
$('newer').onclick = () => ($('log').scrollTop = $('log').scrollHeight);
$('log').onscroll = ({ target }) => {
  atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
  if (atEnd) $('newer').hidden = true;
};
new ResizeObserver(() => atEnd && ($('log').scrollTop = $('log').scrollHeight)).observe($('log')); // a phone's keyboard opens
$('notice-button').onclick = () => client.connect();
$('me').onclick = () => {
  $('name').value = me.name;
  $('self').showModal();
};
$('self').onclose = () => {
  const choice = $('self').returnValue;
  const name = $('name').value.trim();
  $('self').returnValue = '';
  if (choice === 'leave') client.leave();
  if (choice === 'unplug') client.drop(5_000);
  if (choice !== 'save' || !name || name === me.name) return;
  me.name = name;
  showMe();
  client.drop(0); // the name is in the token; the server waits for us, so nobody sees us go
};
$('key').oncancel = (event) => event.preventDefault(); // without a token there is nothing behind this dialog
addEventListener('online', () => state === 'waiting' && client.connect());
addEventListener('offline', () => state === 'connected' && client.drop());
addEventListener('visibilitychange', () => document.visibilityState === 'visible' && state === 'waiting' && client.connect());

roll($('count'), '0');
showMe();
client.connect();
