// Waiting for conditions, each with a deadline that only a failing test meets.
import assert from 'node:assert/strict';

const DEADLINE_MS = 8_000;

/** Asks `condition` again and again until it gives something true, and returns that. */
export async function eventually(what, condition, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Resolves with the next `event` of an emitter. */
export function next(emitter, event, deadlineMs = DEADLINE_MS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`never happened: ${event}`)), deadlineMs);
    emitter.once(event, (context) => {
      clearTimeout(timer);
      resolve(context);
    });
  });
}

/** Everything that `emitter` says by `event`, in order; `take(n)` waits for the first `n`. */
export function record(emitter, event, map = (context) => context) {
  const heard = [];
  (emitter.on ?? emitter.addEventListener).call(emitter, event, (context) => heard.push(map(context)));
  const take = (count) => eventually(`${count} of ${event}, heard ${JSON.stringify(heard)}`, () => heard.length >= count && heard.slice(0, count));
  Object.defineProperty(heard, 'take', { value: take }); // not enumerable, so that lists still compare equal
  return heard;
}
