/** Pages for `session.mjs`, and a server for them, with or without the headers of cross-origin isolation. */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { browser as buildForBrowsers } from "../../build.mjs";

const BUILT = "build/pages";
const root = new URL("../../", import.meta.url);
const isolation = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

/** The package and the suite as a page loads them: built like `dist/browser.js`, and sharing their modules. */
export async function buildPage() {
  await buildForBrowsers(
    { widefield: "sdk/index.browser.ts", conformance: "sdk/engine/conformance/conformance.ts" },
    BUILT,
  );
}

/** What a page offers to `page.evaluate`: sessions, or the one file that the package ships. */
const pages = {
  "/session": `
    import * as widefield from "/widefield.js";
    import * as conformance from "/conformance.js";
    import { session } from "/session.mjs";
    globalThis.runSession = (options) => session(widefield, conformance, options);`,
  "/shipped": `
    import { open } from "/browser.js";
    globalThis.openShipped = async (options) => {
      const engine = await open(options);
      await engine.close();
      return engine.info;
    };`,
};

const scripts = { "/browser.js": "dist/browser.js", "/session.mjs": "test/runtimes/session.mjs" };

export async function servePage(isolated) {
  const headers = isolated ? isolation : {};
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    if (pathname in pages) {
      response.writeHead(200, { ...headers, "Content-Type": "text/html" });
      response.end(`<!doctype html><title>widefield</title><script type="module">${pages[pathname]}</script>`);
      return;
    }
    const file = scripts[pathname] ?? BUILT + pathname;
    readFile(new URL(file, root)).then(
      (bytes) => response.writeHead(200, { ...headers, "Content-Type": "text/javascript" }).end(bytes),
      (error) => response.writeHead(404).end(`${fileURLToPath(new URL(file, root))}: ${error.message}`),
    );
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://localhost:${server.address().port}`, close: () => new Promise((done) => server.close(done)) };
}
