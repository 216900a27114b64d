// Whether the node is sent new clients, and what each of its checks found.
import { keep, make, mark, plural, say } from './elements.js';

const TONES = { ok: 'good', ready: 'good', degraded: 'warn', starting: 'warn', draining: 'warn', failed: 'bad' };
const SENTENCES = {
  ready: 'New clients are welcome here.',
  degraded: 'New clients are welcome here, though not all is well.',
  starting: 'Not everything is up yet: no new clients.',
  draining: 'Its clients are being sent elsewhere; then it ends.',
  failed: 'New clients should go elsewhere.',
};

let status, sentence, checks;

export const panel = {
  id: 'readiness',
  title: 'Readiness',

  mount(root) {
    [status, sentence, checks] = [make('span'), make('span'), make('ul', 'checks')];
    root.append(make('p', 'lead', status, ' ', sentence), checks);
  },

  show({ readiness, metrics }) {
    mark(status, TONES[readiness.status] ?? 'none', readiness.status);
    say(sentence, (SENTENCES[readiness.status] ?? '') + (readiness.status === 'draining' ? left(metrics) : ''));
    const found = Object.entries(readiness.checks);
    const row = () => make('li', '', make('b'), make('span'), make('span', 'why'));
    keep(checks, found, ([name]) => name, row, (item, [name, check]) => {
      say(item.children[0], name);
      mark(item.children[1], TONES[check.status] ?? 'none', check.status);
      say(item.children[2], check.why ?? '');
    });
  },
};

/** Whom a drain waits for. */
function left(metrics) {
  const clients = metrics.all('headcount_connections').reduce((sum, { value }) => sum + value, 0);
  const held = metrics.value('headcount_presence_grace_pending') ?? 0;
  return ` Left: ${plural(clients, 'client')}, and ${plural(held, 'member')} of rooms who may still come back unnoticed.`;
}
