// Whether the regions are equal, how long that took after healing, and how long a like is under way. No clock and no page: what
// happened comes in with its time, so that each rule can be read by itself.

/** What is compared, each with the word for it. */
export const KINDS = { likes: 'Likes', rosters: 'Rosters', messages: 'Messages' };

const sorted = (object) => JSON.stringify(Object.entries(object).filter(([, count]) => count !== 0).sort());

/** What of a region must be the same in all of them. Values alone may be equal by accident: what each region has counted is not. */
const FACES = {
  likes: (region) => sorted(region.entries),
  rosters: (region) => JSON.stringify([...region.roster].map(([id, member]) => [id, member.regions]).sort()),
  messages: (region) => JSON.stringify([...region.messages.keys()].sort()),
};

/** Which kinds are equal in all `regions`: `{ likes, rosters, messages }`. A roster that may be old is equal to none. */
export function equal(regions) {
  const same = (kind) => new Set(regions.map(FACES[kind])).size === 1 && (kind !== 'rosters' || !regions.some(({ isStale }) => isStale));
  return Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, same(kind)]));
}

/** How long after the last healing each kind became equal. */
export class Convergence {
  healedMs = null; // when the last cut link came back; null while one is cut, and before the first healing
  #apart = new Set(); // kinds that were unequal while a link was cut, or when it came back
  took = {}; // kind → ms, for kinds that had come apart

  /** A link was cut. */
  cut() {
    Object.assign(this, { healedMs: null, took: {} });
  }

  /** No link is cut any more. */
  healed(nowMs) {
    this.healedMs = nowMs;
  }

  /** What is equal now. */
  look(isEqual, nowMs) {
    for (const [kind, is] of Object.entries(isEqual)) {
      if (!is) this.#apart.add(kind);
      if (!is || this.healedMs === null || !this.#apart.has(kind)) continue;
      this.#apart.delete(kind);
      this.took[kind] = nowMs - this.healedMs;
    }
  }

  /** Kinds that are still to become equal after a healing. */
  get open() {
    return this.healedMs === null ? [] : [...this.#apart];
  }
}

/**
 * How long the latest like of each region is under way to each other one: from the click until the other region tells its
 * subscribers of likes as new as that.
 */
export class Lags {
  #liked = new Map(); // region → { at, isHeld } of its latest like
  #seen = new Map(); // `from to` → { at, ms } of the latest like that was measured
  #calm = new Map(); // `from to` → ms of the latest one that no cut has held up

  liked(from, atMs, isCut) {
    this.#liked.set(from, { at: atMs, isHeld: isCut });
  }

  /** A link was cut: what is under way may have to wait. */
  cut() {
    for (const like of this.#liked.values()) like.isHeld = true;
  }

  /** Region `to` knows the likes of others as of these times. */
  told(to, asOf, nowMs) {
    for (const [from, { at, isHeld }] of this.#liked) {
      const key = `${from} ${to}`;
      if (from === to || !(asOf[from] >= at) || this.#seen.get(key)?.at === at) continue;
      this.#seen.set(key, { at, ms: nowMs - at });
      if (!isHeld) this.#calm.set(key, nowMs - at);
    }
  }

  /** `{ ms, isOpen }`: how long it took, or takes so far; `null` if nobody has liked there yet. */
  of(from, to, nowMs) {
    const like = this.#liked.get(from);
    if (!like) return null;
    const seen = this.#seen.get(`${from} ${to}`);
    return seen?.at === like.at ? { ms: seen.ms, isOpen: false } : { ms: nowMs - like.at, isOpen: true };
  }

  /** The milliseconds of the slower way between two regions, of likes that no cut has held up; `null` before the first. */
  between(one, other) {
    const both = [`${one} ${other}`, `${other} ${one}`].map((key) => this.#calm.get(key)).filter((ms) => ms !== undefined);
    return both.length ? Math.max(...both) : null;
  }
}
