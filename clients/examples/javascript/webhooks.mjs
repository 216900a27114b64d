// Receives webhooks: checks the signature and prints what happened. Without any package.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const KEY = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ''), 'base64');
const TOLERANCE_S = 300;
const seen = new Set(); // an event may be told twice; a real service keeps this where it keeps the rest

function isGenuine(headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': sent, 'webhook-signature': signatures = '' } = headers;
  const expected = Buffer.from(`v1,${createHmac('sha256', KEY).update(`${id}.${sent}.`).update(body).digest('base64')}`);
  const isRight = (given) => given.length === expected.length && timingSafeEqual(given, expected);
  const right = signatures.split(' ').some((given) => isRight(Buffer.from(given)));
  return right && Math.abs(Date.now() / 1000 - Number(sent)) < TOLERANCE_S;
}

const server = createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  const genuine = isGenuine(request.headers, body);
  for (const { id, type, channel, user } of genuine ? JSON.parse(body).events : []) {
    if (seen.has(id)) continue;
    seen.add(id);
    console.log(type, channel ?? user ?? '');
  }
  response.writeHead(genuine ? 204 : 401).end(); // anything but 2xx: it is told again
});
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}/`));
