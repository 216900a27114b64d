// The counters that are added to most often here.
import { amount, make, number, plural, ranking, say } from './elements.js';

let sentence, list;

export const panel = {
  id: 'hot',
  title: 'Hottest counters',
  needs: ({ hot, metrics }) => Boolean(hot) || metrics.value('headcount_counter_lanes') !== undefined,

  mount(root) {
    [sentence, list] = [make('p', 'lead'), ranking()];
    root.append(sentence, list.element);
  },

  show({ hot }) {
    list.element.hidden = !hot?.counters.length;
    if (!hot) return say(sentence, 'This gateway keeps no counters itself: open the operations page of a node that does.');
    const seconds = Math.max(1, Math.round(hot.window_ms / 1_000));
    say(sentence, hot.counters.length ? `By their additions at this node in the last ${seconds} s, ${number(hot.additions)} in all.` : `Nothing was added to here in the last ${seconds} s.`);
    list.show(hot.counters.map(({ key, additions, value_s: value }) => ({ name: key, size: additions, words: `${plural(additions, 'addition')}, ${amount(additions / seconds)}/s`, more: value === undefined ? '' : `value ${Number(value).toLocaleString('en')}` })));
  },
};
