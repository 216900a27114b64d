// Redis clients that nobody here wrote, against the counters' listener.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { API_KEY, GUARDED, startNode } from './server.mjs';
import { eventually, next } from './wait.mjs';

let node, guarded;
before(async () => {
  [node, guarded] = await Promise.all([startNode(), startNode(undefined, GUARDED)]);
});
after(() => Promise.all([node?.dispose(), guarded?.dispose()]));

const at = ({ listen }) => ({ host: listen.resp.split(':')[0], port: Number(listen.resp.split(':')[1]) });

/**
 * Each client, behind one face: `run` a command by the client's own method for it, `call` any words, a `pipeline` that is
 * written in one go, a `transaction`, `subscribe` and `unsubscribe`. Errors outside of a command go to `onError`; without
 * `reconnects`, the first one ends the client.
 */
const CLIENTS = [2, 3].flatMap((protocol) => [
  {
    name: `node-redis over RESP${protocol}`,
    protocol,
    async open(t, node, { password, onError = () => {}, reconnects = false } = {}) {
      const client = createClient({ RESP: protocol, password, socket: { ...at(node), ...(!reconnects && { reconnectStrategy: false }) } });
      client.on('error', onError);
      t.after(() => client.isOpen && client.destroy());
      await client.connect();
      return {
        run: (command, ...args) => client[command](...args),
        call: (...words) => client.sendCommand(words),
        // What is asked in one turn is written in one go.
        pipeline: (commands) => Promise.all(commands.map(([command, ...args]) => client[command](...args).catch((error) => error))),
        transaction: (commands) => commands.reduce((all, [command, ...args]) => all[command](...args), client.multi()).exec(),
        subscribe: (channel, listener) => client.subscribe(channel, listener),
        unsubscribe: (channel) => client.unsubscribe(channel),
      };
    },
  },
  {
    name: `ioredis over RESP${protocol}`,
    protocol,
    async open(t, node, { password, onError = () => {}, reconnects = false } = {}) {
      const replyMapping = protocol === 3 ? 'resp3' : 'legacy';
      const client = new Redis({ protocol, replyMapping, password, lazyConnect: true, ...at(node), ...(!reconnects && { retryStrategy: null }) });
      const listeners = new Map();
      client.on('error', onError).on('message', (channel, message) => listeners.get(channel)?.(message, channel));
      t.after(() => client.disconnect());
      await client.connect();
      return {
        run: (command, ...args) => client[command.toLowerCase()](...args),
        call: (...words) => client.call(...words),
        async pipeline(commands) {
          const replies = await client.pipeline(commands.map(([command, ...args]) => [command.toLowerCase(), ...args])).exec();
          return replies.map(([error, reply]) => error ?? reply);
        },
        transaction: (commands) => client.multi(commands.map(([command, ...args]) => [command.toLowerCase(), ...args])).exec(),
        subscribe(channel, listener) {
          listeners.set(channel, listener);
          return client.subscribe(channel);
        },
        unsubscribe: (channel) => client.unsubscribe(channel),
      };
    },
  },
]);

let keys = 0;
/** A counter that no other test counts. */
const fresh = () => `likes-${(keys += 1)}`;

/** A map of the protocol: an object already, or in RESP2 names and values in turn. */
function map(reply) {
  if (!Array.isArray(reply)) return { ...reply };
  return Object.fromEntries(Array.from({ length: reply.length / 2 }, (_, index) => reply.slice(2 * index, 2 * index + 2)));
}

/** A UUID version 7, minted now. */
function mint() {
  const [time, random] = [Date.now().toString(16).padStart(12, '0'), randomBytes(9).toString('hex')];
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-8${random.slice(3, 6)}-${random.slice(6)}`;
}

for (const client of CLIENTS) {
  describe(client.name, { concurrency: true, timeout: 60_000 }, () => {
    test('the protocol is the one that was asked for', async (t) => {
      const redis = await client.open(t, node);
      const hello = await redis.call('HELLO');
      assert.equal(Array.isArray(hello), client.protocol === 2);
      const { server, proto } = map(hello);
      assert.deepEqual({ server, proto }, { server: 'redis', proto: client.protocol });
    });

    test('counters are counted, read and deleted', async (t) => {
      const [redis, key, nobody] = [await client.open(t, node), fresh(), fresh()];
      assert.equal(await redis.run('GET', key), null);
      assert.equal(await redis.run('INCR', key), 1);
      assert.equal(await redis.run('INCRBY', key, 41), 42);
      assert.equal(await redis.run('DECR', key), 41);
      assert.equal(await redis.run('DECRBY', key, 50), -9);
      assert.equal(await redis.run('GET', key), '-9');
      assert.deepEqual(await redis.run('MGET', [key, nobody, key]), ['-9', null, '-9']);
      assert.equal(await redis.run('EXISTS', [key, nobody, key]), 2);
      assert.equal(await redis.run('DEL', [key, nobody]), 1);
      assert.equal(await redis.run('GET', key), null);
      assert.equal(await redis.run('EXISTS', [key]), 0);
      assert.equal(await redis.run('INCRBY', key, 3), 3);
    });

    test('a thousand commands in one go are answered in order', async (t) => {
      const [redis, key] = [await client.open(t, node), fresh()];
      const commands = Array.from({ length: 1000 }, (_, index) => (index % 2 ? ['GET', key] : ['INCR', key]));
      const expected = commands.map((_, index) => (index % 2 ? `${(index + 1) / 2}` : index / 2 + 1));
      assert.deepEqual(await redis.pipeline(commands), expected);
    });

    test('an error within a pipeline is the answer to its own command alone', async (t) => {
      const [redis, key] = [await client.open(t, node), fresh()];
      const replies = await redis.pipeline([['INCR', key], ['INCRBY', key, 'x'], ['INCR', key]]);
      assert.deepEqual([replies[0], replies[1].message, replies[2]], [1, 'ERR value is not an integer or out of range', 2]);
    });

    test('a transaction is refused as a whole: nothing of it counts', async (t) => {
      const [redis, key] = [await client.open(t, node), fresh()];
      await assert.rejects(redis.transaction([['INCR', key], ['INCRBY', key, 5]]), ({ message, previousErrors = [] }) => {
        return [message, ...previousErrors.map(({ message }) => message)].some((text) => /^ERR transactions are not supported/.test(text));
      });
      assert.equal(await redis.run('GET', key), null);
      assert.equal(await redis.run('INCR', key), 1, 'the connection goes on');
    });

    test('a subscriber hears the value as it is and as it changes, until it unsubscribes', async (t) => {
      const [redis, subscriber, key, other] = [await client.open(t, node), await client.open(t, node), fresh(), fresh()];
      await redis.run('INCRBY', key, 5);
      const heard = [];
      const hear = (message, channel) => heard.push([channel, JSON.parse(message)]);
      const values = (channel) => heard.filter(([name]) => name === channel).map(([, { value }]) => value);
      await subscriber.subscribe(`counter:${key}`, hear);
      await eventually('the value as it is', () => values(`counter:${key}`).at(-1) === 5);
      const [[channel, { as_of, ...rest }]] = heard;
      assert.deepEqual([channel, rest], [`counter:${key}`, { key, value: 5, value_s: '5', complete: true }]);
      assert.ok(Object.values(as_of).every((ms) => Math.abs(Date.now() - ms) < 60_000), JSON.stringify(as_of));
      await redis.run('INCR', key);
      await eventually('the value as it changes', () => values(`counter:${key}`).at(-1) === 6);

      await subscriber.subscribe(`counter:${other}`, hear);
      await subscriber.unsubscribe(`counter:${key}`);
      await redis.run('INCR', key);
      await redis.run('INCR', other);
      await eventually('the other counter changes', () => values(`counter:${other}`).at(-1) === 1);
      assert.equal(values(`counter:${key}`).at(-1), 6, 'a change after the unsubscribe was told');
      await subscriber.unsubscribe(`counter:${other}`);
      assert.equal(await subscriber.run('INCR', key), 8, 'the connection takes commands again');
    });

    test('what is no counter cannot be subscribed to, and whatever is unsubscribed is confirmed', async (t) => {
      const [subscriber, key] = [await client.open(t, node), fresh()];
      await assert.rejects(subscriber.subscribe('news', () => {}), { message: 'ERR only channels named counter:<key> can be subscribed to' });
      await subscriber.subscribe(`counter:${key}`, () => {});
      await subscriber.unsubscribe(['news', `counter:${key}`]);
      assert.equal(await subscriber.run('INCR', key), 1);
    });

    test('an addition with a token counts once, however often it is sent', async (t) => {
      const [redis, key, token] = [await client.open(t, node), fresh(), mint()];
      assert.equal(await redis.call('HC.ADD', key, '3', 'TOKEN', token), 3);
      assert.equal(await redis.call('HC.ADD', key, '3', 'TOKEN', token), 3);
      assert.equal(await (await client.open(t, node)).call('HC.ADD', key, '3', 'TOKEN', token, 'ACK', 'memory'), 3);
      assert.equal(await redis.call('HC.ADD', key, '3', 'TOKEN', mint()), 6);
      await assert.rejects(redis.call('HC.ADD', key, '4', 'TOKEN', token), /^\w+: ERR token_reused: /);
      await assert.rejects(redis.call('HC.ADD', key, '4', 'TOKEN', 'x'), /^\w+: ERR token_invalid: /);
      assert.equal(await redis.run('GET', key), '6');
    });

    test('an addition may say how safe it must be, and readings say what they know', async (t) => {
      const [redis, key] = [await client.open(t, node), fresh()];
      for (const [index, ack] of ['memory', 'fsync', 'replicated'].entries()) {
        assert.equal(await redis.call('HC.ADD', key, '5', 'ACK', ack), 5 * (index + 1));
      }
      await assert.rejects(redis.call('HC.ADD', key, '1', 'ACK', 'perhaps'), { message: 'ERR ACK is memory, fsync or replicated' });
      assert.equal(await redis.call('HC.ADD', key, '-2'), 13);
      const { value, as_of, lag_ms, complete, ...more } = map(await redis.call('HC.GET', key));
      assert.deepEqual({ value, complete, more }, { value: 13, complete: 1, more: {} });
      assert.ok(lag_ms >= 0 && Object.values(map(as_of)).every((ms) => Math.abs(Date.now() - ms) < 60_000));
      const entries = Object.values(map(await redis.call('HC.INFO', key))).map(map);
      assert.deepEqual(entries, [{ increments: 15, decrements: 2 }]);
      const session = await redis.call('HC.SESSION');
      await redis.run('INCR', key);
      assert.notEqual(await redis.call('HC.SESSION'), session, 'a session moves on with what was written');
    });

    test("errors are Redis's own, and change nothing", async (t) => {
      const [redis, key, max] = [await client.open(t, node), fresh(), '9223372036854775807'];
      await redis.run('INCRBY', key, max);
      const refused = [
        [['INCR', key], 'ERR increment or decrement would overflow'],
        [['INCRBY', key, '1'], 'ERR increment or decrement would overflow'],
        [['DECRBY', key, '-9223372036854775808'], 'ERR decrement would overflow'],
        [['INCRBY', key, '1.5'], 'ERR value is not an integer or out of range'],
        [['INCRBY', key, '9223372036854775808'], 'ERR value is not an integer or out of range'],
        [['INCR'], "ERR wrong number of arguments for 'incr' command"],
        [['GET', key, key], "ERR wrong number of arguments for 'get' command"],
        [['NOPE', 'a', 'b'], "ERR unknown command 'NOPE', with args beginning with: 'a' 'b' "],
        [['SELECT', '1'], 'ERR DB index is out of range'],
      ];
      for (const [words, message] of refused) await assert.rejects(redis.call(...words), { message }, words.join(' '));
      assert.equal(await redis.run('GET', key), max);
    });

    test('where there are API keys, one of them is the password and nothing goes without', async (t) => {
      const key = fresh();
      const refusals = async (password) => {
        const heard = [];
        const hear = ({ message }) => heard.push(message);
        const redis = await client.open(t, guarded, { password, onError: hear }).catch(hear);
        await redis?.run?.('INCR', key).catch(hear);
        return heard.join('\n');
      };
      assert.match(await refusals(), /^NOAUTH (Authentication required\.|HELLO must be called with the client already authenticated, )/m);
      assert.match(await refusals('guessed'), /^WRONGPASS invalid username-password pair or user is disabled\.$/m);
      assert.equal(await refusals(API_KEY), '');
      assert.equal(await (await client.open(t, guarded, { password: API_KEY })).run('GET', key), '1');
    });
  });
}

test('clients come back to a node that was killed, with what they count and what they hear', async (t) => {
  const own = await startNode(t);
  const opened = CLIENTS.map(async (client) => {
    const [key, heard, options] = [fresh(), [], { reconnects: true }];
    const [redis, subscriber] = [await client.open(t, own, options), await client.open(t, own, options)];
    await subscriber.subscribe(`counter:${key}`, (message) => heard.push(JSON.parse(message).value));
    assert.equal(await redis.run('INCRBY', key, 7), 7);
    return { client, key, heard, redis };
  });
  const clients = await Promise.all(opened);
  await own.restart();
  for (const { client, key, heard, redis } of clients) {
    await eventually(`${client.name} reads`, async () => (await redis.run('GET', key).catch(() => null)) === '7');
    assert.equal(await redis.run('INCR', key), 8);
    await eventually(`${client.name} hears`, () => heard.at(-1) === 8);
  }
});

test('redis-py counts, hears, is refused, and comes back to a node that was killed', async (t) => {
  const own = await startNode(t);
  const script = fileURLToPath(new URL('redis_py.py', import.meta.url));
  const python = spawn(process.env.HEADCOUNT_PYTHON ?? 'python3', [script, own.listen.resp, guarded.listen.resp, API_KEY]);
  t.after(() => python.kill());
  let [said, ended] = ['', null];
  for (const stream of [python.stdout, python.stderr]) stream.on('data', (text) => (said += text));
  python.once('close', (code) => (ended = { code, said }));
  await eventually('redis-py has counted', () => ended || said === 'restart the node\n', 60_000);
  assert.equal(ended?.said, undefined);
  await own.restart();
  python.stdin.end('done\n');
  const { code } = await eventually('redis-py ends', () => ended);
  assert.equal(code, 0, said);
});

describe("Redis's own tools", () => {
  const tool = (program, args, input) => {
    const port = String(at(node).port);
    const { status, stdout, stderr } = spawnSync(program, ['-p', port, ...args], { encoding: 'utf8', input, timeout: 30_000 });
    assert.equal(status, 0, `${program} ${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };
  const cli = (...args) => tool('redis-cli', ['-e', ...args]);

  test('redis-cli asks one thing at a time', () => {
    const key = fresh();
    assert.equal(cli('INCRBY', key, '5'), '5\n');
    assert.equal(cli('-3', 'DECR', key), '4\n');
    assert.equal(cli('--no-raw', 'MGET', key, fresh()), '1) "4"\n2) (nil)\n');
    assert.throws(() => cli('INCRBY', key, 'x'), /ERR value is not an integer or out of range/);
  });

  test('redis-cli --pipe inserts thousands of commands', () => {
    const key = fresh();
    const report = tool('redis-cli', ['--pipe'], `*2\r\n$4\r\nINCR\r\n$${key.length}\r\n${key}\r\n`.repeat(5000));
    assert.match(report, /^errors: 0, replies: 5000$/m);
    assert.equal(cli('GET', key), '5000\n');
    assert.match(tool('redis-cli', ['--pipe'], `INCR ${key}\r\n`.repeat(10)), /^errors: 0, replies: 10$/m);
    assert.equal(cli('GET', key), '5010\n');
  });

  test('lines typed into a socket are commands', async (t) => {
    const key = fresh();
    const socket = net.connect(at(node));
    t.after(() => socket.destroy());
    let answered = '';
    socket.setEncoding('utf8').on('data', (text) => (answered += text));
    socket.write(`INCR ${key}\r\n\r\nincrby  ${key} 4\nGET ${key}\r\nQUIT\r\n`);
    await next(socket, 'end');
    assert.equal(answered, ':1\r\n:5\r\n$1\r\n5\r\n+OK\r\n');
  });

  test('redis-benchmark measures what there is to measure', () => {
    const key = fresh();
    const measure = (...args) => tool('redis-benchmark', ['-q', '-n', '2000', '-P', '16', ...args]);
    const rate = (name) => new RegExp(`${name}: \\d+\\.\\d+ requests per second, p50=\\d+\\.\\d+ msec`);
    const report = measure('-t', 'ping_inline,ping_mbulk,incr');
    for (const name of ['PING_INLINE', 'PING_MBULK', 'INCR']) assert.match(report, rate(name));
    assert.match(measure('INCR', key), rate(`INCR ${key}`));
    assert.equal(cli('GET', key), '2000\n');
    assert.match(measure('-3', 'HC.ADD', key, '2'), rate(`HC.ADD ${key} 2`));
    assert.equal(cli('GET', key), '6000\n');
    assert.match(measure('GET', key), rate(`GET ${key}`));
  });
});
