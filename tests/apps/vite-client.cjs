// A page's connection to Vite: silent for 65 s, it still learns of a change.
const fs = require("fs");
const WebSocket = require("ws");
const [address, file] = process.argv.slice(2);

setTimeout(() => { console.error("no end"); process.exit(1); }, 150_000);

(async () => {
  const client = await (await fetch(`http://${address}/@vite/client`)).text();
  const token = /wsToken = "([^"]+)"/.exec(client)?.[1];
  // A page that has loaded a module is told of its changes.
  await fetch(`http://${address}/main.js`);
  const socket = new WebSocket(`ws://${address}/?token=${token}`, "vite-hmr");
  socket.on("error", (error) => { console.error(error); process.exit(1); });
  socket.on("close", (code) => { console.error("closed", code); process.exit(1); });
  socket.on("message", (message) => {
    const { type } = JSON.parse(message);
    if (type === "connected") setTimeout(() => fs.writeFileSync(file, "console.log(2)"), 65_000);
    if (type === "full-reload" || type === "update") process.exit(0);
  });
})();
