/**
 * The built package in every runtime that it is made for: Node, Deno, and Chromium with and without cross-origin
 * isolation, on wasm and on WebGPU (SwiftShader). A runtime that cannot start fails here; none is ever skipped.
 */
import { spawnSync } from "node:child_process";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BackendInfo } from "../../sdk/engine/backend.ts";
import type { OpenOptions } from "../../sdk/engine/engine.ts";
import { hasRelaxedSimd } from "../../sdk/engine/wasm/variants.ts";
import { launchChromium } from "../chromium.mjs";
import { itGivesTheSameBitsOnAnyThreads, itKeepsEveryPromise } from "./expectations.ts";
import { buildPage, servePage } from "./page.mjs";
import { denoSession, nodeSession } from "./processes.ts";
import type { SessionOptions, SessionReport } from "./session.mjs";

const WASM: SessionOptions = { backend: "wasm", threads: 2, threadCounts: [1, 3] };
const GPU: SessionOptions = { backend: "webgpu", adapter: "swiftshader" };

/** What the pages define; see `page.mjs`. */
interface PageGlobals {
  runSession(options: SessionOptions): Promise<SessionReport>;
  openShipped(options: OpenOptions): Promise<BackendInfo>;
}

/** Bits by wasm build, from all runtimes: the plain builds promise one set, the relaxed one another (on one machine). */
const bits = { plain: new Map<string, readonly string[]>(), relaxed: new Map<string, readonly string[]>() };

function remember(runtime: string, { info, digests, training, batches }: SessionReport): void {
  const { losses, weights } = training;
  const trained = `training ${losses.join(" ")} ${weights.toString(16)}`;
  bits[info.adapter === "relaxed" ? "relaxed" : "plain"].set(runtime, [...digests, trained]);
  batchSums.set(
    runtime,
    batches.flatMap(({ sums }) => sums),
  );
}

/** Check sums of batches, which do not depend on a backend. */
const batchSums = new Map<string, readonly number[]>();

/** Runs `start` before the tests of this describe block, and gives its report to them. */
function reportOf(start: () => Promise<SessionReport>): () => SessionReport {
  let report: SessionReport | undefined;
  beforeAll(async () => {
    report = await start();
  }, 180_000);
  return () => {
    if (report === undefined) throw new Error("the session gave no report");
    return report;
  };
}

describe("Node, wasm", () => {
  const report = reportOf(() => nodeSession(WASM));
  itKeepsEveryPromise(report, hasRelaxedSimd() ? "relaxed" : "threads");
  itGivesTheSameBitsOnAnyThreads(report);
  it("contributes its bits", () => remember("Node", report()));
});

describe("Node, wasm with relaxed SIMD", () => {
  // Node 20's V8 has it behind a flag, later ones have it and know no such flag.
  const report = reportOf(() => nodeSession(WASM, hasRelaxedSimd() ? [] : ["--experimental-wasm-relaxed-simd"]));
  itKeepsEveryPromise(report, "relaxed");
  itGivesTheSameBitsOnAnyThreads(report);
  it("contributes its bits", () => remember("Node with relaxed SIMD", report()));
});

describe("Node, WebGPU (Dawn)", () => {
  itKeepsEveryPromise(
    reportOf(() => nodeSession(GPU)),
    /swiftshader/i,
  );
});

describe("Deno, wasm", () => {
  const report = reportOf(() => denoSession(WASM));
  itKeepsEveryPromise(report, "relaxed");
  itGivesTheSameBitsOnAnyThreads(report);
  it("contributes its bits", () => remember("Deno", report()));
});

describe("Deno, WebGPU (wgpu)", () => {
  itKeepsEveryPromise(
    reportOf(() => denoSession(GPU)),
    /swiftshader/i,
  );
});

describe("Chromium", () => {
  let browser: Browser | undefined;
  beforeAll(async () => {
    await buildPage();
    browser = await launchChromium();
  }, 180_000);
  afterAll(async () => {
    await browser?.close();
  });

  describe.each([
    { page: "a page with cross-origin isolation", isolated: true, build: "relaxed" },
    { page: "a page without cross-origin isolation", isolated: false, build: "single" },
  ])("$page", ({ page: title, isolated, build }) => {
    let server: Awaited<ReturnType<typeof servePage>> | undefined;
    let page: Page | undefined;
    beforeAll(async () => {
      server = await servePage(isolated);
      page = await browser?.newPage();
      await page?.goto(`${server.url}/session`);
    });
    afterAll(async () => {
      await page?.close();
      await server?.close();
    });
    const opened = (): Page => {
      if (page === undefined) throw new Error("Chromium did not start");
      return page;
    };
    const inPage = (options: SessionOptions): Promise<SessionReport> =>
      opened().evaluate((given) => (globalThis as unknown as PageGlobals).runSession(given), options);

    it("is what it says", async () => {
      expect(await opened().evaluate(() => crossOriginIsolated)).toBe(isolated);
    });

    describe("wasm", () => {
      const report = reportOf(() => inPage(WASM));
      itKeepsEveryPromise(report, build);
      itGivesTheSameBitsOnAnyThreads(report);
      // Chromium tells of a worker's end a moment after it.
      it("leaves no worker behind", () => expect.poll(() => opened().workers(), { timeout: 10_000 }).toEqual([]));
      it("contributes its bits", () => remember(title, report()));
    });

    describe("WebGPU", () => {
      itKeepsEveryPromise(
        reportOf(() => inPage(GPU)),
        /swiftshader/i,
      );
    });

    it("the one file that the package ships for browsers opens and closes an engine, and needs no other file", async () => {
      const requests: string[] = [];
      opened().on("request", (request) => requests.push(request.url()));
      await opened().goto(`${server?.url ?? ""}/shipped`);
      const info = await opened().evaluate(() =>
        (globalThis as unknown as PageGlobals).openShipped({ backend: "wasm", threads: 2 }),
      );
      expect(info.adapter).toBe(build);
      const files = requests.filter((url) => url.startsWith("http")).map((url) => new URL(url).pathname);
      expect(files).toEqual(["/shipped", "/browser.js"]);
    });
  });
});

describe("wasm in all runtimes", () => {
  it("a build's bits are the same in every runtime", () => {
    expect([...bits.relaxed.keys()]).toContain("Deno");
    expect([...bits.plain.keys()]).toContain("a page without cross-origin isolation");
    for (const each of [bits.plain, bits.relaxed]) {
      const [first] = each.values();
      for (const [runtime, digests] of each) expect({ runtime, digests }).toEqual({ runtime, digests: first });
    }
  });
});

describe("batches in all runtimes", () => {
  it("are the same, whoever prepares them", () => {
    const [first, ...others] = [...batchSums];
    expect(others.map(([runtime]) => runtime)).toEqual(
      expect.arrayContaining(["Deno", "a page with cross-origin isolation"]),
    );
    for (const [runtime, sums] of others) expect({ runtime, sums }).toEqual({ runtime, sums: first?.[1] });
  });
});

describe("a script that forgets close()", () => {
  it("still ends by itself", () => {
    const entry = new URL("../../dist/index.js", import.meta.url).href;
    const script = `import { open } from ${JSON.stringify(entry)};
      const { adapter } = (await open({ backend: "wasm", threads: 2 })).info; console.log(adapter);`;
    const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect(stdout.trim()).toMatch(/threads|relaxed/);
    expect(status).toBe(0);
  });
});
