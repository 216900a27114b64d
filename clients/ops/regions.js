// The regions: how this node knows each, how many are online there, and when their gateways and counters were heard last.
import { keep, make, mark, plural, say, span } from './elements.js';
import * as lines from './line.js';

const TONES = { live: 'good', stale: 'warn', gone: 'bad' };
const SILENT_S = 3; // as `headcount_counter_replica_silence_seconds` is judged
const CALM_S = 3;

let sentence, list;

export const panel = {
  id: 'regions',
  title: 'Regions',
  needs: (told) => regionsOf(told).length > 1,

  mount(root) {
    [sentence, list] = [make('p', 'lead'), make('ul', 'cards')];
    root.append(sentence, list);
  },

  show(told) {
    const regions = regionsOf(told);
    say(sentence, told.regions ? `${plural(regions.length, 'region')}, as this gateway knows them.` : 'As the counters of this node know them; a gateway knows more.');
    lines.remember('heard', Object.fromEntries(regions.flatMap(({ heard }) => heard.map(({ what, seconds }) => [what, seconds]))));
    const create = () => make('li', 'region', make('b'), make('span'), make('span', 'soft'), make('ul', 'heard'), make('span', 'why'));
    keep(list, regions, ({ name }) => name, create, (card, region) => {
      const [name, state, online, heard, why] = card.children;
      say(name, region.name + (region.isOwn ? ' (this one)' : ''));
      mark(state, ...region.state);
      say(online, onlineIn(region));
      showHeard(heard, region.heard);
      say(why, region.trouble);
    });
  },
};

/** Of each region what is known here, the own one first. */
function regionsOf({ ring, regions, totals, metrics }) {
  const sights = regions?.regions ?? [];
  const members = metrics.all('headcount_counter_replica_silence_seconds').map(({ labels, value }) => ({ region: labels.member.split('/')[0], member: labels.member, seconds: value }));
  const names = [...new Set([...sights.map(({ name }) => name), ...members.map(({ region }) => region)])];
  return names.map((name) => {
    const sight = sights.find((one) => one.name === name);
    const isOwn = sights.length > 0 && sights[0].name === name;
    const link = metrics.value('headcount_region_silence_seconds', { region: name });
    const own = isOwn && `${name}/${ring?.here?.gateway}`; // never silent to itself
    const counters = members.filter(({ region, member }) => region === name && member !== own);
    const heard = [
      ...(link === undefined ? [] : [{ what: `Gateways of ${name}`, seconds: link }]),
      // A node that does not know its own name may be the only one.
      ...(isOwn && !ring?.here?.gateway && counters.length < 2 ? [] : counters.map(({ member, seconds }) => ({ what: `Counters of ${member}`, seconds }))),
    ];
    return { name, isOwn, heard, state: stateOf(sight, counters), trouble: sight?.trouble ?? '', online: totals?.regions[name], asOfMs: sight?.as_of_ms };
  });
}

/** Tone and words. */
function stateOf(sight, counters) {
  if (sight) return sight.trouble && sight.state === 'live' ? ['warn', 'not reached'] : [TONES[sight.state] ?? 'none', sight.state];
  return counters.some(({ seconds }) => seconds >= SILENT_S) ? ['warn', 'counters silent'] : ['good', 'counters heard'];
}

function onlineIn({ online, isOwn, asOfMs }) {
  const since = asOfMs && !isOwn ? `; heard last at ${new Date(asOfMs).toLocaleTimeString()}` : '';
  if (!online) return `How many are online there is not known${since}`;
  const old = online.stale ? `, as of ${new Date(online.as_of_ms).toLocaleTimeString()}` : '';
  return `${plural(online.num_users, 'user')} with ${plural(online.num_clients, 'client')} online${old}`;
}

function showHeard(element, all) {
  const create = () => make('li', '', make('span', 'soft'), lines.line(), make('span', 'number'));
  keep(element, all, ({ what }) => what, create, (row, { what, seconds }) => {
    const [name, line, last] = row.children;
    say(name, what);
    lines.show(line, 'heard', what, CALM_S, (looks, known) => `${what}: heard ${known.length ? `at most ${span(Math.max(...known) * 1_000)} ago` : 'never'} in the last ${looks} looks`);
    say(last, `${span(seconds * 1_000)} ago`);
  });
}

/** Troubles of regions, for the top of the page. */
export function troubles(told) {
  return regionsOf(told).flatMap(({ name, isOwn, state: [tone, word], trouble, heard }) => {
    const silent = heard.filter(({ what, seconds }) => what.startsWith('Counters') && seconds >= SILENT_S).map(({ what }) => `${what} are silent.`);
    return tone === 'good' || isOwn ? silent : [`The region ${name} is ${word}${trouble && ` (${trouble})`}.`, ...silent];
  });
}
