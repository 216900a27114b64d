// A stock of tickets that all regions sell from: what is left as a region knows it, buying one there, and putting more on sale. It is a
// bounded counter: a region sells what it has rights to, also while it is cut off, and says what it would have to get from elsewhere.
import { roll, uuid7 } from '../faces.js';
import { make, say, set } from '../../ops/elements.js';

const KEY = 'stock:tickets';
const MORE = 20; // put on sale at once
const SOON_MS = 80; // after a change was told, until it is asked who has sold how many
const ANSWER_MS_MAX = 4_000;
const ATTEMPTS_MAX = 5; // to have a purchase answered; its token makes all of them one
const RETRY_MS = 500;
const UNDER_WAY_MAX = 20; // purchases in one region; a further press is not heard, with a word why

/** The tickets as one region sells them. `onChange` hears that something of it is new. */
export class Stock {
  left = null; // as far as is known here, as a BigInt
  added = {}; // region → how many were put on sale there, as far as is known here
  sold = {}; // region → how many were sold there, as far as is known here
  said = { tone: '', text: 'On sale also while a link is cut, and none twice.' }; // what came of the last press
  #region; #onChange; #asking = 0; #asked = 0; #answered = 0; #underWay = 0; #bought = 0;

  constructor(region, onChange) {
    [this.#region, this.#onChange] = [region, onChange];
    region.client.subscribe(`counter:${KEY}`, {}, { publication: ({ data }) => this.#told(data) });
  }

  async buy() {
    if (this.#underWay >= UNDER_WAY_MAX) return this.#say('warn', `${UNDER_WAY_MAX} purchases are under way already.`);
    this.#underWay += 1;
    try {
      await this.#change(-1);
      this.#bought += 1;
      this.#say('good', `You have bought ${this.#bought}.`);
    } catch (error) {
      this.#say('warn', error.code === 'insufficient' ? this.#shortage(error) : `Not bought: ${error.message}.`);
    } finally {
      this.#underWay -= 1;
    }
  }

  async restock() {
    await this.#change(MORE).then(() => this.#say('good', `${MORE} more are on sale.`), (error) => this.#say('warn', `Not put on sale: ${error.message}.`));
  }

  #shortage({ elsewhere }) {
    if (!elsewhere) return 'Sold out.';
    const isCut = Object.values(this.#region.others).some(({ state }) => state !== 'live');
    return `None to be had here: ${elsewhere} elsewhere. ${isCut ? 'Heal the links, or buy there.' : 'Try again in a moment.'}`;
  }

  /** Adds to the stock, or takes from it; an error has the `code` of the answer, of a shortage also `here` and `elsewhere`. */
  async #change(by) {
    const body = JSON.stringify({ by, token: uuid7(this.#region.client.skewMs) });
    for (let attempt = 1; ; attempt += 1) {
      const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body, signal: AbortSignal.timeout(ANSWER_MS_MAX) };
      const answer = await fetch(`${this.#region.http}/v1/counters/${KEY}/add`, options).catch(() => null);
      if (answer?.ok) return;
      if (answer && answer.status !== 503) {
        const { error } = await answer.json().catch(() => ({ error: { message: `answered ${answer.status}` } }));
        throw Object.assign(new Error(error.message), error);
      }
      if (attempt === ATTEMPTS_MAX) throw new Error('the region does not answer, and nobody knows whether it was done');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  #told({ value_s: value }) {
    if (value === undefined) return;
    this.left = BigInt(value);
    this.#onChange();
    this.#asking ||= setTimeout(() => this.#ask(), SOON_MS);
  }

  async #ask() {
    this.#asking = 0;
    const turn = (this.#asked += 1);
    const read = await fetch(`${this.#region.http}/v1/counters/${KEY}?detail=replicas`, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS_MAX) })
      .then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
    if (!read || turn < this.#answered) return; // nothing, or overtaken by a later answer
    this.#answered = turn;
    [this.added, this.sold] = [{}, {}];
    for (const [replica, { increments, decrements }] of Object.entries(read.replicas ?? {})) {
      const [region] = replica.split('/');
      this.added[region] = (this.added[region] ?? 0) + increments;
      this.sold[region] = (this.sold[region] ?? 0) + decrements;
    }
    this.#onChange();
  }

  #say(tone, text) {
    this.said = { tone, text };
    this.#onChange();
  }
}

/** The tickets' part of a region's column. */
export function ticketsPart({ name, stock }) {
  const button = (className, text, label) => set(make('button', className, text), { type: 'button', 'aria-label': label });
  const figure = set(make('p', 'number'), { 'aria-hidden': true });
  const figureText = make('span', 'unseen');
  const [buy, more] = [button('button primary', 'Buy', `Buy a ticket in ${name}`), button('button', `+${MORE}`, `Put ${MORE} more tickets on sale in ${name}`)];
  const sold = make('p', 'sold');
  const said = set(make('p', 'said'), { role: 'status' });
  const head = make('div', 'figure', make('h3', '', 'Tickets left'), figure, figureText);
  const element = make('section', 'tickets', head, buy, more, sold, said);
  buy.addEventListener('click', () => stock.buy());
  more.addEventListener('click', () => stock.restock());
  const show = () => {
    const left = stock.left === null ? '…' : stock.left.toLocaleString('en');
    roll(figure, left);
    say(figureText, `${left} tickets left`);
    say(sold, `Sold here: ${stock.sold[name] ?? 0}`);
    said.dataset.tone = stock.said.tone;
    say(said, stock.said.text);
  };
  show();
  return { element, show };
}

/** What the regions have sold together, each as it knows it of itself. */
export function soldWords(regions) {
  const own = (what) => regions.map(({ name, stock }) => [name, stock[what][name] ?? 0]);
  const sum = (entries) => entries.reduce((all, [, amount]) => all + amount, 0);
  const [added, sold] = [own('added'), own('sold')];
  if (!sum(added)) return 'Tickets are on sale once a region has put some there.';
  const each = sold.filter(([, amount]) => amount).map(([name, amount]) => `${name} ${amount}`).join(', ');
  return `Tickets: ${sum(added)} put on sale, ${sum(sold)} sold${each && `: ${each}`}`;
}
