// Follows two channels without any SDK: the browser's own EventSource (here the npm package of the same shape).
import { EventSource } from 'eventsource';

const base = (process.env.HEADCOUNT_URL ?? 'http://127.0.0.1:8000').replace(/^ws/, 'http');
const events = new URL('/v1/events?channel=lobby&channel=counter:likes', base);
// EventSource cannot set headers, so a token goes into the address; the server keeps it out of its logs.
if (process.env.HEADCOUNT_TOKEN) events.searchParams.set('token', process.env.HEADCOUNT_TOKEN);

// It reconnects by itself and names the last id it saw, so that missed messages follow.
const source = new EventSource(events);
let told = 0;
for (const name of ['message', 'join', 'leave', 'counter', 'presence', 'expired']) {
  source.addEventListener(name, ({ data, lastEventId }) => {
    console.log(`${name} ${lastEventId}:`, data);
    if (name === 'message' && (told += 1) === 1) source.close();
  });
}
source.onopen = async () => {
  console.log('open');
  const message = { data: { text: 'hello from EventSource' } };
  const headers = { 'Content-Type': 'application/json' };
  const answer = await fetch(new URL('/v1/channels/lobby/messages', base), { method: 'POST', headers, body: JSON.stringify(message) });
  console.log('published:', answer.status, await answer.text());
};
source.onerror = ({ code, message }) => console.log('error:', code ?? '', message ?? 'reconnecting');
