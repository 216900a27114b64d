// The rooms with the most clients.
import { make, plural, ranking, say } from './elements.js';

let sentence, list;

export const panel = {
  id: 'rooms',
  title: 'Largest rooms',
  needs: ({ rooms }) => Boolean(rooms),

  mount(root) {
    [sentence, list] = [make('p', 'lead'), ranking()];
    root.append(sentence, list.element);
  },

  show({ rooms: { rooms, complete } }) {
    list.element.hidden = rooms.length === 0;
    const some = complete ? '' : ' There are too many rooms to look at all of them: larger ones may be missing.';
    say(sentence, (rooms.length ? `By their clients${rooms.some(({ counted }) => counted === 'gateway') ? '; where nobody here follows the roster, those of this gateway alone' : ''}.` : 'Nobody is in any room.') + some);
    list.show(rooms.map(({ channel, num_clients: clients, num_users: users, counted }) => ({ name: channel, size: clients, words: plural(clients, 'client'), more: counted === 'gateway' ? 'at this gateway' : plural(users, 'user') })));
  },
};
