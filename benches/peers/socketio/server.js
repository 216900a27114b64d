// Channels with socket.io: a client is in the room that it names when it connects, and publishes with an event.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });

io.on("connection", (socket) => {
  socket.join(socket.handshake.auth.channel);
  socket.on("publish", (channel, message) => io.to(channel).emit("m", message));
});

http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`127.0.0.1:${http.address().port}`));
