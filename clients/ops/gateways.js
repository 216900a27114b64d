// Which gateways there are, which ring each goes by, and who has done its part of a change.
import { keep, make, mark, plural, say, set, table } from './elements.js';

let sentence, rows, list;

export const panel = {
  id: 'gateways',
  title: 'Gateways',
  needs: ({ ring }) => ring?.mode === 'ring',

  mount(root) {
    sentence = make('p', 'lead');
    const { element, body } = table('Gateways with their epochs', ['Gateway', 'Epoch', 'Its part of the change', 'Address', 'Version']);
    [rows, list] = [body, element];
    root.append(sentence, list);
  },

  show({ ring }) {
    const newest = Math.max(ring.epoch, ...ring.gateways.map((gateway) => gateway.epoch));
    const waited = ring.phase === 'stable' ? [] : ring.gateways.filter((gateway) => gateway.acked < ring.epoch);
    list.hidden = ring.gateways.length === 0;
    say(sentence, told(ring, waited));
    const create = () => make('tr', '', set(make('th'), { scope: 'row' }), make('td', 'number', make('span')), make('td', '', make('span')), make('td', 'soft'), make('td', 'soft'));
    keep(rows, ring.gateways, (gateway) => gateway.name, create, (row, gateway) => {
      const [name, epoch, part, address, version] = row.children;
      say(name, gateway.name + (gateway.name === ring.here.gateway ? ' (this one)' : ''));
      const behind = newest - gateway.epoch;
      if (behind) mark(epoch.firstChild, 'warn', `${gateway.epoch}, ${behind} behind`);
      else say(Object.assign(epoch.firstChild, { className: '' }), String(gateway.epoch));
      const done = gateway.acked >= ring.epoch;
      mark(part.firstChild, done ? 'good' : 'warn', done ? 'done' : `${ring.phase === 'stable' ? 'on its way' : 'waited for'} (at ${gateway.acked})`);
      say(address, gateway.address);
      say(version, gateway.version);
    });
  },
};

function told(ring, waited) {
  if (ring.here.etcd_age_ms === null) return 'etcd has not answered this gateway yet, so that it knows of no others.';
  if (ring.gateways.length === 0) return 'No gateway stands in etcd.';
  const all = `${plural(ring.gateways.length, 'gateway')} in etcd. `;
  if (waited.length === 0) return all + (ring.phase === 'stable' ? 'Nobody is waited for.' : `All have done their part of the phase ${ring.phase}.`);
  return `${all}${waited.map((gateway) => gateway.name).join(', ')} ${waited.length === 1 ? 'is' : 'are'} waited for.`;
}
