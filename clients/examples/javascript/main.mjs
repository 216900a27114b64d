// Joins the lobby, says who is there, sends a message, adds a like, leaves. In a browser, drop the `ws` lines.
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const url = process.env.HEADCOUNT_URL ?? 'ws://127.0.0.1:8000';
const client = new Centrifuge(`${url}/connection/websocket`, { websocket: WebSocket, token: process.env.HEADCOUNT_TOKEN ?? '' });
client.on('connected', ({ client: id }) => console.log('connected as client', id));
client.on('disconnected', ({ code, reason }) => console.log(`disconnected: ${reason} (${code})`));

// `recoverable` brings what was missed while the connection was away; `joinLeave` tells who comes and goes.
const lobby = client.newSubscription('lobby', { recoverable: true, joinLeave: true });
lobby.on('subscribed', ({ wasRecovering, recovered }) => wasRecovering && console.log(recovered ? 'missed nothing' : 'history was lost'));
lobby.on('join', ({ info }) => console.log('joined:', info.user || info.client));
lobby.on('leave', ({ info }) => console.log('left:', info.user || info.client));
const echoed = new Promise((resolve) => {
  lobby.on('publication', ({ data, info, offset }) => {
    console.log(`message ${offset} from ${info?.user || info?.client}:`, data);
    resolve();
  });
});

// The counter's value now, then every change of it.
const likes = client.newSubscription('counter:likes');
likes.on('publication', ({ data }) => console.log('likes:', data.value_s));

lobby.subscribe();
likes.subscribe();
client.connect(); // one frame carries the connect and both subscribes
await lobby.ready();

const { clients } = await lobby.presence();
console.log('here:', Object.values(clients).map((info) => info.user || info.client));
const { publications } = await lobby.history({ limit: 3, reverse: true });
console.log('last messages:', publications.map((publication) => publication.data));

await lobby.publish({ text: 'hello from JavaScript' });
await echoed;

// The same token never counts twice, so this call may be repeated after any error.
const { data } = await client.rpc('counter.add', { key: 'likes', by: 1, token: uuid7() });
console.log('after my like:', data.value_s);
client.disconnect();

/** A UUID of version 7: 48 bits of time, then chance (RFC 9562). */
function uuid7() {
  const time = Date.now().toString(16).padStart(12, '0');
  const rest = crypto.randomUUID().slice(14); // its version digit becomes 7
  return `${time.slice(0, 8)}-${time.slice(8)}-7${rest.slice(1)}`;
}
