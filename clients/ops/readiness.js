// Whether the node is sent new clients, and what each of its checks found.
import { keep, make, mark, say } from './elements.js';

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

  show({ readiness }) {
    mark(status, TONES[readiness.status] ?? 'none', readiness.status);
    say(sentence, SENTENCES[readiness.status] ?? '');
    const found = Object.entries(readiness.checks);
    const row = () => make('li', '', make('b'), make('span'), make('span', 'why'));
    keep(checks, found, ([name]) => name, row, (item, [name, check]) => {
      say(item.children[0], name);
      mark(item.children[1], TONES[check.status] ?? 'none', check.status);
      say(item.children[2], check.why ?? '');
    });
  },
};
