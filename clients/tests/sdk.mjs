// The published JavaScript SDK over each of its transports, behind one manner of sending and reading payloads.
import { EventSource } from 'eventsource';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';

const websocket = (base) => [{ transport: 'websocket', endpoint: `${base.ws}/connection/websocket` }];
const httpStream = (base) => [{ transport: 'http_stream', endpoint: `${base.http}/connection/http_stream` }];
const sse = (base) => [{ transport: 'sse', endpoint: `${base.http}/connection/sse` }];

/** Name, class and endpoints; `base` is a node or a wire to one. */
export const TRANSPORTS = [
  { name: 'WebSocket, JSON', kind: 'websocket', Client: Centrifuge, endpoints: websocket },
  { name: 'WebSocket, Protobuf', kind: 'websocket', Client: CentrifugeProtobuf, endpoints: websocket, binary: true },
  { name: 'http_stream, JSON', kind: 'http_stream', Client: Centrifuge, endpoints: httpStream },
  { name: 'http_stream, Protobuf', kind: 'http_stream', Client: CentrifugeProtobuf, endpoints: httpStream, binary: true },
  { name: 'SSE', kind: 'sse', Client: Centrifuge, endpoints: sse },
];

/** WebSocket first, then http_stream, then SSE, as an application lists them. */
export const FALLBACK = { name: 'fallback', Client: Centrifuge, endpoints: (base) => [...websocket(base), ...httpStream(base), ...sse(base)] };

const WHOLE = { websocket: WebSocket, eventsource: EventSource, fetch: (...call) => fetch(...call), readableStream: ReadableStream };

/**
 * An SDK client, not yet connected, disconnected when the test `t` ends. `pack` and `unpack` turn values into payloads
 * and back: the Protobuf build wants bytes.
 */
export function sdk(t, transport, base, options = {}) {
  const all = { ...WHOLE, emulationEndpoint: `${base.http}/emulation`, minReconnectDelay: 20, maxReconnectDelay: 200, ...options };
  const client = new transport.Client(transport.endpoints(base), all);
  client.on('error', () => {}); // without a listener, an error event would end the process
  t.after(() => client.disconnect());
  client.pack = (value) => (transport.binary ? new TextEncoder().encode(JSON.stringify(value)) : value);
  client.unpack = (payload) => (transport.binary && payload !== undefined ? JSON.parse(new TextDecoder().decode(payload)) : payload);
  client.call = async (method, data) => client.unpack((await client.rpc(method, client.pack(data))).data);
  return client;
}

/** The error of a call that must fail: its code, text and, in the SDK, `temporary`. */
export async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return { code: error.code, message: error.message };
  }
  throw new Error('the call was expected to fail');
}

let rooms = 0;

/** A channel that no other test uses. */
export const room = (namespace) => `${namespace ? `${namespace}:` : ''}room-${process.pid}-${(rooms += 1)}`;
