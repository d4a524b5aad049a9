// Talks to the echo by the transports that the command line names, and ends with the last of them.
const { io } = require("socket.io-client");
const [url, transports] = process.argv.slice(2);
const names = transports.split(",");
const last = names[names.length - 1];
const socket = io(url, { transports: names });
const large = "x".repeat(1_000_000);

function fail(reason) {
  console.error(reason);
  process.exit(1);
}

function echo(value, then) {
  socket.timeout(30_000).emit("echo", value, (error, answer, transport) => {
    if (error || answer !== value) fail(error || "another value came back");
    then(transport);
  });
}

function again() {
  echo("small", (transport) => {
    if (transport !== last) return setTimeout(again, 50);
    echo(large, () => process.exit(0));
  });
}

socket.on("connect_error", fail);
socket.on("connect", again);
setTimeout(() => fail("no end"), 60_000);
