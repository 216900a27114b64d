// A region as this page knows it: a person's connection to it, and what it tells of likes, members, messages and other regions. Its
// tickets are in stock.js.
import { Client, Lost } from '../client.js';
import { idOf, newName, uuid7 } from '../faces.js';
import { Stock } from './stock.js';

export const ROOM = 'chat:lobby';
const KEY = 'likes';
const LOOK_MS = 1_000; // between two looks at what is not pushed
const SOON_MS = 80; // after a push, until the entries behind it are asked for
const ANSWER_MS_MAX = 4_000;
const MESSAGES_MAX = 200; // kept; the oldest go first

/** What everybody calls a region, and its people's colour. */
export const REGIONS = {
  eu: { title: 'Europe', color: '#5b54e8' },
  us: { title: 'United States', color: '#c8551b' },
  ap: { title: 'Asia Pacific', color: '#0b8076' },
  sa: { title: 'South America', color: '#a13fc0' },
  af: { title: 'Africa', color: '#2672bf' },
};

const memory = {
  read: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
  write: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* private mode: this page only */ } },
};

export class Region extends EventTarget {
  value = null; // the counter, as a BigInt
  asOf = {}; // region → up to when its likes are known here, in ms since 1970
  entries = {}; // region → how many likes were counted there, as far as is known here
  others = {}; // region → { state, as_of_ms, trouble }
  roster = new Map(); // id → member
  isStale = false; // whether the roster may be old
  messages = new Map(); // id → publication
  state = 'connecting';
  #held = []; // messages that came while the history was on its way; null once it has arrived
  #asking = 0; #asked = 0; #answered = 0; // the timer, and which questions have been asked and answered
  #waiting = 0; #underWay = null;

  constructor({ name, client, resp, admin }) {
    super();
    Object.assign(this, { name, http: client, resp, admin, title: REGIONS[name].title, color: REGIONS[name].color });
    this.person = JSON.parse(memory.read(`person ${name}`) ?? 'null') ?? { user: `${name}-${Math.random().toString(36).slice(2, 7)}`, name: newName() };
    this.client = new Client(`${client.replace(/^http/, 'ws')}/connection/websocket`, () => this.#token(), (state) => this.#onState(state));
    this.client.subscribe(ROOM, { recoverable: true }, { subscribed: (result) => this.#entered(result), publication: (publication) => (this.#held ? this.#held.push(publication) : this.#heard(publication)) });
    this.client.subscribe(`presence:${ROOM}`, {}, { publication: ({ data }) => this.#presence(data) });
    this.client.subscribe(`counter:${KEY}`, {}, { publication: ({ data }) => this.#counted(data) });
    this.stock = new Stock(this, () => this.#tell('stock'));
    this.client.connect();
    this.#look();
    setInterval(() => this.#look(), LOOK_MS);
  }

  /** Gives the person another name. The name is in the token; the region waits for the person to come back with it. */
  rename(name) {
    this.person.name = name;
    memory.write(`person ${this.name}`, JSON.stringify(this.person));
    this.client.drop(0);
  }

  say(text) {
    return this.client.request('publish', { channel: ROOM, data: { id: uuid7(this.client.skewMs), text } });
  }

  // One request is under way at a time, and later likes gather in the next one. It keeps its token until it is answered, so that
  // sending it again counts once.
  like(by = 1) {
    this.#waiting += by;
    this.#flush();
  }

  #flush() {
    if (!this.#underWay && this.#waiting) {
      this.#underWay = { key: KEY, by: this.#waiting, token: uuid7(this.client.skewMs) };
      this.#waiting = 0;
    }
    const batch = this.#underWay;
    if (!batch || batch.sent) return;
    batch.sent = true;
    const { key, by, token } = batch;
    if (!batch.at) this.#tell('liked', (batch.at = Date.now()));
    this.client.rpc('counter.add', { key, by, token }).then(
      () => {
        this.#underWay = null;
        this.#flush();
      },
      (error) => {
        batch.sent = false;
        if (error instanceof Lost) return; // it goes again after the reconnect
        if (error.temporary) setTimeout(() => this.#flush(), 1_000);
        else this.#underWay = null;
      },
    );
  }

  async #token() {
    const body = JSON.stringify({ user: this.person.user, info: { name: this.person.name, color: this.color } });
    const { token } = await this.#ask('/v1/development/token', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    memory.write(`person ${this.name}`, JSON.stringify(this.person));
    return token;
  }

  async #ask(path, options = {}) {
    const answer = await fetch(this.http + path, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS_MAX), ...options });
    if (!answer.ok) throw new Error(`${path} was answered ${answer.status}`);
    return answer.json();
  }

  #onState(state) {
    this.state = state;
    if (state === 'connected') this.#flush();
    this.#tell('state');
  }

  async #entered({ was_recovering: returning, recovered }) {
    if (returning && recovered && !this.#held) return;
    this.#held ??= [];
    const history = await this.client.request('history', { channel: ROOM, limit: MESSAGES_MAX, reverse: true }).catch((error) => error);
    if (history instanceof Lost) return; // and start over with the next connection
    const waiting = this.#held;
    this.#held = null;
    [...(history.publications ?? []).reverse(), ...waiting].forEach((publication) => this.#heard(publication));
  }

  #heard(publication) {
    const id = publication.data?.id ?? `${publication.region ?? ''} ${publication.offset}`;
    if (this.messages.has(id)) return;
    this.messages.set(id, publication);
    if (this.messages.size > MESSAGES_MAX) this.messages.delete(this.messages.keys().next().value);
    this.#tell('message', publication);
  }

  #presence(change) {
    if (change.snapshot || 'stale' in change) this.isStale = change.stale === true;
    if ('stale' in change) this.#look(); // at which regions are silent
    if (change.version) {
      if (change.snapshot) this.roster.clear();
      for (const member of [...(change.snapshot ?? []), ...(change.join ?? []), ...(change.update ?? [])]) this.roster.set(idOf(member), member);
      for (const member of change.leave ?? []) this.roster.delete(idOf(member));
    }
    this.#tell('roster');
  }

  #counted({ value_s: value, as_of: asOf = {} }) {
    if (value === undefined) return;
    Object.assign(this, { value: BigInt(value), asOf });
    this.#tell('value');
    this.#asking ||= setTimeout(() => this.#count(), SOON_MS);
  }

  /** What each region has counted, as it is known here. */
  async #count() {
    clearTimeout(this.#asking);
    this.#asking = 0;
    const turn = (this.#asked += 1);
    const read = await this.#ask(`/v1/counters/${KEY}?detail=replicas`).catch(() => null);
    if (!read || turn < this.#answered) return; // nothing, or overtaken by a later answer
    this.#answered = turn;
    const entries = {};
    for (const [replica, { increments, decrements }] of Object.entries(read.replicas ?? {})) {
      const region = replica.split('/')[0];
      entries[region] = (entries[region] ?? 0) + increments - decrements;
    }
    Object.assign(this, { entries, asOf: read.as_of });
    this.#tell('entries');
  }

  async #look() {
    if (document.hidden) return;
    const [seen] = await Promise.all([this.#ask('/v1/regions').catch(() => null), this.#count()]);
    if (!seen) return;
    this.others = Object.fromEntries(seen.regions.filter(({ name }) => name !== this.name).map((other) => [other.name, other]));
    this.#tell('others');
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent('change', { detail: { type, detail, region: this } }));
  }
}
