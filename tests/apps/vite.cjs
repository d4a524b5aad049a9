// Serves a folder with Vite's development server.
const { pathToFileURL } = require("url");
const net = require("net");
const path = require("path");

// Vite takes port 0 for its default.
function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

(async () => {
  const entry = path.join(path.dirname(require.resolve("vite/package.json")), "dist/node/index.js");
  const { createServer } = await import(pathToFileURL(entry));
  const server = await createServer({
    root: process.argv[2],
    configFile: false,
    server: { host: "127.0.0.1", port: await freePort(), strictPort: true, allowedHosts: true, watch: { usePolling: true, interval: 200 } },
    cacheDir: path.join(process.argv[2], ".vite"),
  });
  await server.listen();
  console.log("listening on", server.httpServer.address().port);
})();
