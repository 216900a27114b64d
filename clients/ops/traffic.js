// What goes through this node: how much of each there is a second, drawn as it goes.
import { amount, keep, make, say } from './elements.js';
import * as lines from './line.js';

const sum = (samples) => (samples.length ? samples.reduce((total, { value }) => total + value, 0) : undefined);

// Each with its name, what it is more exactly, and how it is read. What is counted is shown as a rate; what the node has not is left out.
const FLOWS = [
  ['Connections', '', (metrics) => sum(metrics.all('headcount_connections')), 'gauge'],
  ['Commands', 'from clients', (metrics) => metrics.value('headcount_commands_total')],
  ['Publications', 'accepted', (metrics) => metrics.value('headcount_publications_total')],
  ['Messages', 'to clients', (metrics) => metrics.value('headcount_client_sent_messages_total')],
  ['Bytes', 'to clients', (metrics) => metrics.value('headcount_client_sent_bytes_total')],
  ['Likes', 'counted', (metrics) => sum(metrics.all('headcount_counter_ops_total', { op: 'add', result: 'ok' }))],
];

let list;
let before = null; // the look before: when, and what was counted

export const panel = {
  id: 'traffic',
  title: 'Traffic of this node',

  mount(root) {
    list = make('ul', 'flows');
    root.append(list);
  },

  show({ metrics, atMs }) {
    const read = Object.fromEntries(FLOWS.map(([name, , look]) => [name, look(metrics)]).filter(([, value]) => value !== undefined));
    const flows = FLOWS.filter(([name]) => name in read);
    const values = Object.fromEntries(flows.map(([name, , , kind]) => [name, kind === 'gauge' ? read[name] : rate(name, read[name], atMs)]));
    before = { atMs, read };
    // A rate that is not known yet is none that was missed.
    lines.remember('flow', Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null)));
    const create = () => make('li', 'flow', make('span', 'soft'), make('b', 'number'), make('span', 'soft'), lines.line());
    keep(list, flows, ([name]) => name, create, (item, [name, more, , kind]) => {
      const [title, value, unit, line] = item.children;
      const [whole, a] = [`${name} ${more}`.trim(), kind === 'gauge' ? '' : '/s'];
      say(title, whole);
      say(value, values[name] === null ? '…' : amount(values[name]));
      say(unit, a);
      const describe = (looks, known) => `${whole} in the last ${looks} looks: ${known.length ? `at most ${amount(Math.max(...known))}${a}` : 'not known yet'}`;
      lines.show(line, 'flow', name, 1, describe);
    });
  },
};

/** Of what is counted from the start on; `null` before the second look, and after a restart. */
function rate(name, value, atMs) {
  const last = before?.read[name];
  return last === undefined || value < last || atMs <= before.atMs ? null : ((value - last) * 1_000) / (atMs - before.atMs);
}
