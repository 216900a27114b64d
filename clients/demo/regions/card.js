// A region's column: its person, likes, tickets, members and messages, and how it knows the other regions.
import { face, paint, roll } from '../faces.js';
import { ticketsPart } from './stock.js';
import { draw, keep, make, mark, plural, say, set, span } from '../../ops/elements.js';

const PEOPLE_SHOWN = 24; // avatars drawn; the rest is a number
const OLD_MS = 2_500; // likes of a region that are known as of longer ago are old; heartbeats come more often
const HEART = 'M12 21s-8.5-5.2-8.5-11.4A4.8 4.8 0 0 1 12 6.7a4.8 4.8 0 0 1 8.5 2.9C20.5 15.8 12 21 12 21z';
const PLANE = 'M3.5 11.2 20 4l-5.500 16.500-3.200-7.100z';
const STATES = { connecting: 'Connecting', connected: 'Connected', waiting: 'Reconnecting', left: 'Left', refused: 'Refused' };

const titled = (tag, className, title, ...children) => make(tag, className, make('h3', '', title), ...children);
const button = (className, label, ...children) => set(make('button', className, ...children), { type: 'button', 'aria-label': label });
const sign = (path) => draw('svg', { viewBox: '0 0 24 24', 'aria-hidden': true }, draw('path', { d: path }));

/** `on.cutOff(region)` cuts or heals all links of the region. */
export function card(region, on) {
  const { name, title } = region;
  const pill = make('p', 'pill', make('span', 'dot'), make('span'));
  const cutOff = button('button', `Cut off ${name}`);
  const head = make('header', '', make('h2', '', name, make('small', '', title)), cutOff);
  const avatar = make('span', 'avatar small');
  const person = set(make('input', 'person-name'), { value: region.person.name, maxlength: 24, autocomplete: 'off', spellcheck: false, 'aria-label': `Name of the person in ${name}` });
  const who = make('form', 'who', avatar, person, pill);
  const figure = make('p', 'number');
  const figureText = make('span', 'unseen');
  const heart = button('like', `Like in ${name}`, sign(HEART));
  const entries = set(make('ul', 'entries'), { 'aria-label': `Likes by the region that counted them, as ${name} knows them` });
  const likes = make('section', 'likes', titled('div', 'figure', 'Likes', figure, figureText), heart, entries);
  const tickets = ticketsPart(region);
  const count = make('span');
  const people = make('ul', 'people');
  const here = titled('section', 'here', 'Here now', people);
  here.firstChild.append(count);
  const knows = make('ul');
  const log = set(make('ol', 'log'), { role: 'log', 'aria-live': 'off', 'aria-label': `Messages in ${name}`, tabindex: 0 });
  const text = set(make('input'), { maxlength: 300, placeholder: `Write in ${name}`, autocomplete: 'off', enterkeyhint: 'send', 'aria-label': `Your message in ${name}` });
  const error = set(make('p', 'error'), { role: 'alert' });
  const composer = make('form', 'composer', text, set(button('send', `Send in ${name}`, sign(PLANE)), { type: 'submit' }), error);
  const ports = make('p', 'hint ports', make('a', '', 'one node’s page'), ' · ', make('a', '', 'operations'), ` · Redis port ${region.resp?.split(':').at(-1) ?? 'none'}`);
  set(ports.children[0], { href: `${region.http}/`, target: '_blank', rel: 'noopener' });
  set(ports.children[1], { href: `${region.admin}/ops`, target: '_blank', rel: 'noopener' });
  const element = set(make('article', 'card region', head, who, likes, tickets.element, here, titled('section', 'knows', 'Other regions', knows), titled('section', 'chat', 'Messages', log, composer), ports), { 'data-region': name, 'aria-label': `Region ${name}, ${title}` });

  heart.addEventListener('click', () => {
    region.like();
    burst(heart);
  });
  cutOff.addEventListener('click', () => on.cutOff(region));
  person.addEventListener('change', () => {
    const wanted = person.value.trim();
    if (wanted && wanted !== region.person.name) region.rename(wanted);
    else person.value = region.person.name;
    showMe();
  });
  who.addEventListener('submit', (event) => {
    event.preventDefault();
    person.blur();
  });
  composer.addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = text.value.trim();
    say(error, '');
    if (!wanted) return;
    text.value = '';
    region.say(wanted).catch((refused) => {
      text.value ||= wanted;
      say(error, `Not sent: ${refused.message}.`);
    });
  });

  const showMe = () => paint(avatar, { name: region.person.name, color: region.color });
  const isOld = (other) => region.others[other] && region.others[other].state !== 'live';

  const show = {
    state() {
      pill.dataset.state = region.state;
      say(pill.children[1], STATES[region.state]);
    },
    value() {
      const value = region.value === null ? '…' : region.value.toLocaleString('en');
      roll(figure, value);
      figure.ariaHidden = 'true';
      say(figureText, `${value} likes`);
    },
    entries(names, nowMs) {
      const most = Math.max(1, ...Object.values(region.entries));
      keep(entries, names, (one) => one, (one) => set(make('li', '', make('span', 'region-name', one), make('span', 'track', make('span', 'fill')), make('span', 'amount'), make('span', 'age')), { 'data-region': one }), (row, one) => {
        const amount = region.entries[one] ?? 0;
        const ageMs = one === region.name ? 0 : nowMs - (region.asOf[one] ?? nowMs);
        row.classList.toggle('old', ageMs > OLD_MS);
        row.children[1].firstChild.style.setProperty('--share', Math.max(0, amount / most));
        say(row.children[2], amount.toLocaleString('en'));
        say(row.children[3], ageMs > OLD_MS ? `as of ${span(ageMs)} ago` : '');
      });
    },
    stock: tickets.show,
    roster() {
      const members = [...region.roster].sort(([a], [b]) => (a < b ? -1 : 1));
      say(count, ` ${members.length}${region.isStale ? ', may be old' : ''}`);
      here.classList.toggle('old', region.isStale);
      const newMember = () => make('li', '', make('span', 'avatar'), make('span', 'name'), make('span', 'from'));
      keep(people, members.slice(0, PEOPLE_SHOWN), ([id]) => id, newMember, (tile, [id, member]) => {
        const look = face(member);
        const from = member.regions ?? [region.name];
        const old = from.every(isOld);
        paint(tile.children[0], look).ariaHidden = 'true';
        tile.classList.toggle('old', old);
        say(tile.children[1], look.name);
        say(tile.children[2], `${from.join(', ')}${id === region.person.user ? ', you' : ''}${old ? ', stale' : ''}`);
      });
      set(people, { 'data-more': members.length > PEOPLE_SHOWN ? `+${members.length - PEOPLE_SHOWN} more` : null });
    },
    others(nowMs) {
      keep(knows, Object.values(region.others), (other) => other.name, () => make('li', '', make('span', ''), make('span', 'soft')), (row, other) => {
        const tone = { live: 'good', stale: 'warn', gone: 'bad' }[other.state];
        mark(row.children[0], tone, `${other.name} ${other.state}`);
        say(row.children[1], other.state === 'live' ? '' : other.as_of_ms ? `heard ${span(nowMs - other.as_of_ms)} ago` : 'never heard');
      });
      show.roster();
    },
    message(publication) {
      const sender = face(publication.info ?? { client: 'service', conn_info: { name: 'Service', color: '#52525b' } });
      const body = publication.data?.text;
      const from = publication.region || region.name;
      const line = set(make('li', sender.id === region.person.user ? 'mine' : '', make('p', 'by', make('b', '', sender.name), set(make('span', 'region-name', ` ${from}`), { 'data-region': from })), make('p', 'text', typeof body === 'string' ? body : JSON.stringify(publication.data))), { 'data-region': from });
      const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      log.append(line);
      if (isAtEnd) log.scrollTop = log.scrollHeight;
    },
    cut(isCutOff, count) {
      element.classList.toggle('cut-off', isCutOff);
      say(cutOff, isCutOff ? 'Reconnect' : 'Cut off');
      set(cutOff, { 'aria-label': isCutOff ? `Reconnect ${name}: heal its ${plural(count, 'link')}` : `Cut off ${name}: cut its ${plural(count, 'link')}` });
    },
  };
  showMe();
  show.value();
  show.state();
  return { element, show };
}

function burst(heart) {
  const flying = make('span', 'heart', '♥');
  flying.style.setProperty('--drift', `${Math.round(Math.random() * 60 - 30)}px`);
  flying.ariaHidden = 'true';
  flying.onanimationend = () => flying.remove();
  heart.append(flying);
  if (!flying.getAnimations().length) flying.remove();
}
