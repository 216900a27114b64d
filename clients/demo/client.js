// A client for the JSON form of the client protocol, as the demo pages use it.

const CALL_TIMEOUT_MS = 5_000; // a command without a reply for this long means that the connection is dead
const PING_SLACK_MS = 10_000; // silence beyond the server's ping interval that means the connection is dead
const BACKOFF_MS = { min: 500, max: 20_000 };

/** The server said no: `code` and `message` are its own, `temporary` means that a retry may help. */
export class Refused extends Error {
  constructor({ code, message, temporary = false }) {
    super(message);
    Object.assign(this, { code, temporary });
  }
}

/** The connection went away before the reply: nobody knows whether the command arrived. */
export class Lost extends Error {}

/**
 * One connection that comes back by itself. `onState(name, detail)` hears `connecting`, `connected`, `waiting {until}`,
 * `left` and `refused {code, reason}`; the last two are final until `connect()` is called again.
 */
export class Client {
  #url; #getToken; #onState;
  #socket = null; #connected = false; #pong = false; #silenceMs = PING_SLACK_MS;
  #lastId = 0; #calls = new Map(); #subscriptions = new Map();
  #attempt = 0; #turn = 0; #alarm = { retry: 0, silence: 0, refresh: 0 };

  constructor(url, getToken, onState) {
    Object.assign(this, { skewMs: 0, id: '' });
    [this.#url, this.#getToken, this.#onState] = [url, getToken, onState];
  }

  /** Declares a wish, kept over every reconnect. `on` may have `subscribed`, `publication`, `join`, `leave`, `ended`. */
  subscribe(channel, options, on) {
    this.#subscriptions.set(channel, { channel, options, on, position: null });
  }

  async connect() {
    const turn = ++this.#turn; // whoever connects or leaves after us makes our answers void
    clearTimeout(this.#alarm.retry);
    this.#onState('connecting');
    let token;
    try {
      token = await this.#getToken();
    } catch {
      return turn === this.#turn && this.#later();
    }
    if (turn !== this.#turn) return;
    const socket = (this.#socket = new WebSocket(this.#url));
    const mine = (handler) => (event) => socket === this.#socket && handler(event);
    socket.onopen = mine(() => this.#hello(token));
    socket.onmessage = mine(({ data }) => this.#receive(data));
    socket.onclose = mine(({ code, reason }) => this.#closed(code, reason));
    this.#alive();
  }

  /** Goes away for good: the others see it at once. */
  leave() {
    this.#turn += 1;
    this.#abandon(1000);
    this.#onState('left');
  }

  /** Loses the connection as a bad network does: without a goodbye, so that the server waits for our return. */
  drop(backInMs) {
    this.#turn += 1;
    this.#abandon();
    this.#later(backInMs);
  }

  /** Sends one command; resolves with its result, rejects with `Refused` or `Lost`. */
  request(method, body) {
    return new Promise((done, failed) => {
      if (!this.#connected) return failed(new Lost('not connected'));
      this.#send(this.#command(method, body, done, failed));
    });
  }

  rpc(method, data) {
    return this.request('rpc', { method, data }).then((result) => result.data);
  }

  #hello(token) {
    const connect = this.#command('connect', { token, name: 'demo' }, (result) => this.#welcome(result), (error) => this.#rejected(error));
    this.#send(connect, ...[...this.#subscriptions.values()].map((wish) => this.#wish(wish)));
  }

  #welcome({ client, ping = 0, pong = false, expires = false, ttl = 0, time = 0 }) {
    Object.assign(this, { id: client, skewMs: time && time - Date.now() });
    [this.#connected, this.#attempt, this.#pong, this.#silenceMs] = [true, 0, pong, ping ? ping * 1000 + PING_SLACK_MS : Infinity];
    this.#alive();
    if (expires) this.#refreshIn(ttl);
    this.#onState('connected');
  }

  #refreshIn(ttlSeconds) {
    this.#alarm.refresh = setTimeout(async () => {
      const refreshed = await this.#getToken().then((token) => this.request('refresh', { token })).catch(() => null);
      if (refreshed?.expires) this.#refreshIn(refreshed.ttl);
    }, ttlSeconds * 1000);
  }

  #rejected(error) {
    if (error instanceof Lost) return;
    this.#abandon();
    if (error.temporary || error.code < 100 || error.code === 109) return this.#later();
    this.#onState('refused', { code: error.code, reason: error.message });
  }

  #wish(wish) {
    const position = wish.position && { recover: true, ...wish.position };
    const done = (result) => {
      if (result.recoverable) wish.position = { epoch: result.epoch ?? '', offset: result.offset ?? 0 };
      wish.on.subscribed?.(result);
      for (const publication of result.publications ?? []) this.#deliver(wish, publication);
    };
    const failed = (error) => {
      if (error instanceof Lost) return;
      if (error.temporary) setTimeout(() => this.#connected && this.#send(this.#wish(wish)), BACKOFF_MS.min * (1 + Math.random()));
      else wish.on.ended?.(error);
    };
    return this.#command('subscribe', { channel: wish.channel, ...wish.options, ...position }, done, failed);
  }

  #deliver(wish, publication) {
    if (wish.position && publication.offset) wish.position.offset = publication.offset;
    wish.on.publication?.(publication);
  }

  #command(method, body, done, failed) {
    const id = ++this.#lastId;
    const timer = setTimeout(() => this.drop(), CALL_TIMEOUT_MS);
    this.#calls.set(id, { method, done, failed, timer });
    return { id, [method]: body };
  }

  #send(...commands) {
    this.#socket.send(commands.map((command) => JSON.stringify(command)).join('\n'));
  }

  #receive(frame) {
    this.#alive();
    for (const line of frame.split('\n')) {
      if (!line) continue;
      const reply = JSON.parse(line);
      if (reply.push) this.#pushed(reply.push);
      else if (reply.id) this.#replied(reply);
      else if (this.#pong) this.#send({}); // an empty reply is the server's ping
    }
  }

  #replied(reply) {
    const call = this.#calls.get(reply.id);
    if (!call) return;
    this.#calls.delete(reply.id);
    clearTimeout(call.timer);
    if (reply.error) call.failed(new Refused(reply.error));
    else call.done(reply[call.method] ?? {});
  }

  #pushed(push) {
    const wish = this.#subscriptions.get(push.channel);
    if (!wish) return;
    if (push.pub) this.#deliver(wish, push.pub);
    if (push.join) wish.on.join?.(push.join.info);
    if (push.leave) wish.on.leave?.(push.leave.info);
    if (push.unsubscribe) {
      const { code, reason } = push.unsubscribe;
      if (code === 2502) wish.position = null;
      if (code >= 2500) this.#send(this.#wish(wish));
      else wish.on.ended?.(new Refused({ code, message: reason }));
    }
  }

  // Any frame proves life; silence does not, and no close event may ever come from a dead network.
  #alive() {
    clearTimeout(this.#alarm.silence);
    if (this.#silenceMs !== Infinity) this.#alarm.silence = setTimeout(() => this.drop(), this.#silenceMs);
  }

  #closed(code, reason) {
    this.#abandon();
    const final = code === 1009 || (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
    if (code === 3014) for (const wish of this.#subscriptions.values()) wish.position = null;
    if (final) this.#onState('refused', { code, reason });
    else this.#later();
  }

  #abandon(code) {
    const socket = this.#socket;
    [this.#socket, this.#connected, this.#silenceMs] = [null, false, PING_SLACK_MS];
    Object.values(this.#alarm).forEach(clearTimeout);
    socket?.close(...(code ? [code] : []));
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) {
      clearTimeout(call.timer);
      call.failed(new Lost('connection lost'));
    }
  }

  // Full jitter, so that a thousand pages do not come back in the same instant.
  #later(delayMs = BACKOFF_MS.min + Math.random() * Math.min(BACKOFF_MS.max, BACKOFF_MS.min * 2 ** this.#attempt++)) {
    this.#alarm.retry = setTimeout(() => this.connect(), delayMs);
    this.#onState('waiting', { until: Date.now() + delayMs });
  }
}
