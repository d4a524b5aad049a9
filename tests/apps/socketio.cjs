// Echoes what a Socket.IO client sends.
const { Server } = require("socket.io");
const http = require("http");

const server = http.createServer();
new Server(server, { maxHttpBufferSize: 4e6 }).on("connection", (socket) => {
  socket.on("echo", (value, reply) => reply(value, socket.conn.transport.name));
});
server.listen(0, "127.0.0.1", () => console.log("listening on", server.address().port));
