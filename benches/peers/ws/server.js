// Channels with ws: a client is in the channel of its path, and publishes with "channel message".
import { WebSocket, WebSocketServer } from "ws";

const channels = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096 });

server.on("connection", (socket, request) => {
  const name = request.url.slice("/ws/".length);
  let members = channels.get(name);
  if (!members) {
    members = new Set();
    channels.set(name, members);
  }
  members.add(socket);
  socket.on("error", () => socket.terminate());
  socket.on("close", () => members.delete(socket));
  socket.on("message", (data) => {
    const space = data.indexOf(0x20);
    const message = data.subarray(space + 1);
    for (const member of channels.get(data.toString("utf8", 0, space)) ?? []) {
      if (member.readyState === WebSocket.OPEN) {
        member.send(message, { binary: false });
      }
    }
  });
  socket.send("ready");
});

server.on("listening", () => console.log(`127.0.0.1:${server.address().port}`));
