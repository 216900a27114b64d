// The protocol frame by frame, as an SDK never sends it: wrong order, bad bytes, silence, and the exact form of replies.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { room } from './sdk.mjs';
import { GUARDED, slow, startNode, token } from './server.mjs';
import { eventually } from './wait.mjs';

let node;
before(async () => {
  const hasty = { 'limits.ping_interval_s': 2, 'limits.pong_timeout_s': 1, 'limits.stale_timeout_s': 1 };
  node = await startNode(undefined, { ...GUARDED, ...hasty });
});
after(() => node?.dispose());

/** A bare socket: `frames` and, split at newlines, `replies` that came; `send` joins objects to one frame. */
async function open(t, { query = '', protocols = [], base = node } = {}) {
  const socket = new WebSocket(`${base.ws}/connection/websocket${query}`, protocols);
  const raw = { socket, frames: [], replies: [], closed: null };
  socket.on('message', (data, isBinary) => {
    raw.frames.push(isBinary ? data : data.toString());
    if (!isBinary) raw.replies.push(...data.toString().split('\n').filter(Boolean).map((line) => JSON.parse(line)));
  });
  socket.on('close', (code, reason) => (raw.closed = { code, reason: reason.toString() }));
  socket.on('error', () => {});
  t.after(() => socket.terminate());
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  raw.send = (...commands) => socket.send(commands.map((command) => JSON.stringify(command)).join('\n'));
  raw.reply = (id) => eventually(`reply ${id}, got ${raw.frames}`, () => raw.replies.find((reply) => reply.id === id));
  raw.end = () => eventually('the connection ends', () => raw.closed);
  raw.connect = async (user = 'ann') => {
    raw.send({ id: 1, connect: { token: token(user) } });
    return (await raw.reply(1)).connect;
  };
  return raw;
}

describe('bad input ends the connection with its code', () => {
  const BAD_REQUEST = { code: 3501, reason: 'bad request' };
  const fresh = {
    'a frame that is empty': '',
    'a frame that is not JSON': 'hello',
    'an array': '[{"id":1}]',
    'a first command that is not connect': '{"id":1,"publish":{"channel":"a","data":1}}',
    'a connect without an id': '{"connect":{}}',
    'a pong before connect': '{}',
    'a client name longer than the schema admits': JSON.stringify({ id: 1, connect: { name: 'x'.repeat(17) } }),
  };
  for (const [what, frame] of Object.entries(fresh)) {
    test(what, async (t) => {
      const raw = await open(t);
      raw.socket.send(frame);
      assert.deepEqual(await raw.end(), BAD_REQUEST);
    });
  }
  const connected = {
    'a second connect': [{ id: 2, connect: {} }],
    'a command without an id': [{ publish: { channel: 'a', data: 1 } }],
    'an id without a request': [{ id: 2 }],
    'a refresh that nobody asked for': [{ id: 2, refresh: { token: token('ann') } }],
  };
  for (const [what, commands] of Object.entries(connected)) {
    test(what, async (t) => {
      const raw = await open(t);
      await raw.connect();
      raw.send(...commands);
      assert.deepEqual(await raw.end(), BAD_REQUEST);
    });
  }

  test('an empty line between commands; those before it were carried out', async (t) => {
    const raw = await open(t);
    await raw.connect();
    raw.socket.send('{"id":2,"presence_stats":{"channel":"a"}}\n\n{"id":3,"presence_stats":{"channel":"a"}}');
    assert.deepEqual(await raw.end(), BAD_REQUEST);
    assert.deepEqual(raw.replies.map(({ id }) => id), [1, 2]);
  });

  test('bytes that are no Protobuf', async (t) => {
    for (const frame of [[], [5, 8, 1], Array(11).fill(255)]) {
      const raw = await open(t, { protocols: ['centrifuge-protobuf'] });
      raw.socket.send(Buffer.from(frame));
      assert.deepEqual(await raw.end(), BAD_REQUEST);
    }
  });

  test('a message larger than the limit: 1009', async (t) => {
    const raw = await open(t);
    await raw.connect();
    raw.send({ id: 2, publish: { channel: room(), data: 'x'.repeat(66_000) } });
    assert.equal((await raw.end()).code, 1009);
  });

  test('no connect in time: 3502', async (t) => {
    assert.deepEqual(await (await open(t)).end(), { code: 3502, reason: 'stale' });
  });

  test('no pong in time: 3012', async (t) => {
    const raw = await open(t);
    await raw.connect();
    assert.deepEqual(await raw.end(), { code: 3012, reason: 'no pong' });
    assert.equal(raw.frames.at(-1), '{}', 'it was asked');
  });

  test('a client that does not read: 3008', async (t) => {
    const patient = await startNode(t, { ...GUARDED, 'limits.outbox_bytes': 70_000 }); // as to pings
    const raw = await open(t, { base: patient });
    const channel = room();
    await raw.connect();
    raw.send({ id: 2, subscribe: { channel } });
    await raw.reply(2);
    raw.socket.pause();
    const big = 'x'.repeat(60_000);
    // Until kernel buffers are full as well; the goodbye waits for a reader for some seconds only, so it is read at once.
    const ended = async () => (await patient.publish(channel, big), (await slow(patient)) > 0);
    await eventually('it is found slow', ended, 60_000);
    raw.socket.resume();
    assert.deepEqual(await raw.end(), { code: 3008, reason: 'slow' });
  });
});

test('the connect result says who, how often it pings and that it wants an answer', async (t) => {
  const raw = await open(t);
  const { client, version, ping, pong, time, ...rest } = await raw.connect();
  assert.deepEqual([typeof client, typeof version, ping, pong, rest], ['string', 'string', 2, true, {}]);
  assert.ok(Math.abs(time - Date.now()) < 5_000);
});

test('a client that answers its pings stays', async (t) => {
  const ways = [{}, { protocols: ['centrifuge-json'] }, { query: '?cf_ws_frame_ping_pong=true' }];
  const stay = async (options) => {
    const raw = await open(t, options);
    let pings = 0;
    raw.socket.on('ping', () => (pings += 1)); // answered by the library
    raw.socket.on('message', (data) => data.toString() === '{}' && ((pings += 1), raw.socket.send('{}')));
    await raw.connect();
    await eventually('three pings', () => pings === 3, 10_000);
    assert.equal(raw.closed, null);
  };
  await Promise.all(ways.map(stay));
});

test('in Protobuf a ping is one zero byte, and so is its answer', async (t) => {
  const ways = [{ protocols: ['centrifuge-protobuf'] }, { query: '?format=protobuf' }, { query: '?cf_protocol=protobuf' }];
  const stay = async (options) => {
    const raw = await open(t, options);
    const connect = Buffer.from(token('ann'));
    const request = Buffer.concat([Buffer.from([0x0a, 0x80 | (connect.length & 0x7f), connect.length >> 7]), connect]);
    const command = Buffer.concat([Buffer.from([0x08, 1, 0x22, 0x80 | (request.length & 0x7f), request.length >> 7]), request]);
    raw.socket.send(Buffer.concat([Buffer.from([0x80 | (command.length & 0x7f), command.length >> 7]), command]));
    const ping = () => raw.frames.filter((frame) => frame.equals?.(Buffer.from([0]))).length;
    await eventually('a ping', () => ping() === 1);
    raw.socket.send(Buffer.from([0]));
    await eventually('another ping', () => ping() === 2);
  };
  await Promise.all(ways.map(stay));
});

test('an optimistic batch is answered in order, and nothing live comes before its subscribe reply', async (t) => {
  const raw = await open(t);
  const channel = room();
  raw.send(
    { id: 1, connect: { token: token('ann') } },
    { id: 2, subscribe: { channel, join_leave: true } },
    { id: 3, publish: { channel, data: { n: 1 } } },
    { id: 4, unsubscribe: { channel } },
    { id: 5, unsubscribe: { channel } },
    { id: 6, presence_stats: { channel } },
  );
  await raw.reply(6);
  assert.deepEqual(raw.replies.filter(({ id }) => id).map(({ id }) => id), [1, 2, 3, 4, 5, 6]);
  const at = (test) => raw.replies.findIndex(test);
  assert.ok(at(({ id }) => id === 2) < at(({ push }) => push), 'the reply comes first');
  const line = (id) => raw.frames.join('\n').split('\n').find((text) => text.startsWith(`{"id":${id},`));
  assert.equal(line(3), '{"id":3,"publish":{}}', 'empty results are present');
  assert.equal(line(4), '{"id":4,"unsubscribe":{}}');
  assert.equal(line(6), '{"id":6,"presence_stats":{"num_clients":0,"num_users":0}}', 'zeros that SDKs read are present');
});

test('a subscribe behind a refused connect is not honoured', async (t) => {
  const raw = await open(t);
  const channel = room();
  raw.send({ id: 1, connect: { token: token('ann', { exp: 1 }) } }, { id: 2, subscribe: { channel } });
  assert.deepEqual((await raw.reply(1)).error, { code: 109, message: 'token expired' });
  assert.equal((await node.api('presence_stats', { channel })).result.num_clients, 0);
  assert.equal(raw.replies.some(({ id }) => id === 2), false);
});

test('unknown fields are ignored, null is zero, and of several requests the first in the schema counts', async (t) => {
  const raw = await open(t);
  await raw.connect();
  const channel = room();
  raw.send({ id: 2, subscribe: { channel, recover: null, novelty: { a: 1 } }, novelty: 3 });
  assert.equal((await raw.reply(2)).subscribe.recoverable, true);
  raw.send({ id: 3, rpc: { method: 'none' }, presence_stats: { channel } });
  assert.deepEqual(Object.keys(await raw.reply(3)), ['id', 'presence_stats']);
});

test('the refusals that SDKs never provoke', async (t) => {
  const raw = await open(t);
  await raw.connect();
  const channel = room();
  raw.send({ id: 2, subscribe: { channel } });
  await raw.reply(2);
  const table = [
    [{ subscribe: { channel } }, 105],
    [{ ping: {} }, 108],
    [{ subscribe: { channel: room(), type: 1 } }, 108],
    [{ sub_refresh: { channel: room(), token: 'x' } }, 103],
    [{ subscribe: { channel: '' } }, 107],
    [{ publish: { channel } }, 107],
    [{ subscribe: { channel: room(), recover: true, epoch: 'other', offset: 5, flag: 2 } }, 112],
  ];
  for (const [index, [command, code]] of table.entries()) {
    raw.send({ id: index + 3, ...command });
    assert.equal((await raw.reply(index + 3)).error?.code, code, JSON.stringify(command));
  }
});

test('history and presence of an empty channel are whole objects', async (t) => {
  const raw = await open(t);
  await raw.connect();
  const channel = room();
  raw.send({ id: 2, history: { channel, limit: 5 } }, { id: 3, presence: { channel } });
  const { history } = await raw.reply(2);
  assert.deepEqual([history.publications, history.offset, typeof history.epoch], [[], 0, 'string']);
  assert.deepEqual(await raw.reply(3), { id: 3, presence: { presence: {} } });
});

test('data passes through as it is, newlines inside it aside', async (t) => {
  const raw = await open(t);
  const channel = room();
  await raw.connect();
  raw.send({ id: 2, subscribe: { channel } });
  await raw.reply(2);
  const values = ['null', '0', '""', '[]', '{"a":1.0,"b":"\\u0041","a":2}', '12345678901234567890', '"\\ud83d\\ude00"'];
  for (const [index, value] of values.entries()) {
    raw.socket.send(`{"id":${index + 3},"publish":{"channel":"${channel}","data":${value}}}`);
    await raw.reply(index + 3);
  }
  const pushes = await eventually('all come back', () => {
    const found = raw.frames.join('\n').split('\n').filter((line) => line.startsWith('{"push"'));
    return found.length === values.length && found;
  });
  for (const [index, value] of values.entries()) assert.ok(pushes[index].includes(`"data":${value}`), `${value} in ${pushes[index]}`);
});
