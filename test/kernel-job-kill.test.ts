/** Kernel jobs in processes of their own: killed, racing for a lock, sharing a store. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { once } from "node:events";
import esbuild from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import { runKernelJob } from "../sdk/covariance/job.ts";
import type { Files } from "../sdk/platform/files.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import { verify } from "../sdk/covariance/store/verify.ts";
import { contentOf, freshFolder, hashSource, specOf } from "./kernel-job-fixtures.ts";
import type { ChildTask } from "./kernel-job-child.ts";

const tile = 16;
let files: Files;
let script: string;

beforeAll(async () => {
  files = await nodeFiles();
  const built = await esbuild.build({
    entryPoints: [join(import.meta.dirname, "kernel-job-child.ts")],
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    define: { WIDEFIELD_VERSION: JSON.stringify(WIDEFIELD_VERSION) },
  });
  script = built.outputFiles[0]?.text ?? "";
});

interface Outcome {
  readonly code?: string;
  readonly message?: string;
  readonly tilesReused?: number;
}
interface Child {
  readonly process: ChildProcess;
  /** Undefined if it was killed. */
  readonly outcome: Promise<Outcome | undefined>;
}

async function start(folder: string, task: ChildTask): Promise<Child> {
  await writeFile(`${folder}/child.mjs`, script);
  const child = spawn(process.execPath, [`${folder}/child.mjs`, JSON.stringify(task)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  const outcome = once(child, "close").then(([, signal]) =>
    signal === "SIGKILL" ? undefined : (JSON.parse(output) as Outcome),
  );
  return { process: child, outcome };
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function tilesOnDisk(path: string): Promise<number> {
  const names = await readdir(`${path}/c`, { recursive: true }).catch(() => []);
  return names.filter((name) => /^\d+\/\d+$/.test(name)).length;
}

/** Waits until this very process has locked its shard (a killed one's lock may be there before), or has ended. */
async function untilLocked(path: string, { process }: Child): Promise<void> {
  while (process.exitCode === null && process.signalCode === null) {
    const lock = await files.read(`${path}/.shard-0-of-1.lock`);
    if (lock !== undefined && new TextDecoder().decode(lock).includes(`"pid":${process.pid ?? -1},`)) return;
    await pause(1);
  }
}

describe("a killed job", () => {
  it("twenty times at random moments, then resumed, ends with the same bytes, and needs no hand", async () => {
    const folder = await freshFolder();
    // 325 tiles of 3 ms: twenty turns do not finish them, and many a kill meets a file half written.
    const rows = 400;
    const whole = await KernelStore.create(
      files,
      `${folder}/whole.zarr`,
      specOf(rows, rows, tile, { symmetric: true }),
    );
    await runKernelJob({ store: whole, source: hashSource(true), memoryBytes: 1 << 24 });

    const path = `${folder}/killed.zarr`;
    const task: ChildTask = { path, rows, tile, delayMs: 3, shard: { index: 0, count: 1 } };
    let before = 0;
    let progressed = 0;
    for (let turn = 0; turn < 20; turn++) {
      const child = await start(folder, task);
      // A quarter of the kills fall anywhere from the process's start on, the others into its work.
      if (turn % 4 !== 0) await untilLocked(path, child);
      await pause(Math.random() * 90);
      child.process.kill("SIGKILL");
      const outcome = await child.outcome;
      expect(outcome?.code, outcome?.message).toBeUndefined();
      const now = await tilesOnDisk(path);
      expect(now).toBeGreaterThanOrEqual(before);
      if (now > before) progressed++;
      before = now;
    }
    expect(progressed).toBeGreaterThan(0);
    const last = await start(folder, { ...task, delayMs: 0 });
    expect(await last.outcome).toMatchObject({ tilesReused: before });

    expect(await verify(await KernelStore.open(files, path))).toMatchObject({
      complete: 325,
      missing: [],
      damaged: [],
    });
    const [expected, actual] = [await contentOf(whole.path), await contentOf(path)];
    expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [name, bytes] of expected) {
      if (name.startsWith("c/")) expect(actual.get(name)?.equals(bytes), name).toBe(true);
    }
  });
});

describe("two processes", () => {
  const rows = 150;

  it("on the same shard: the second is told the first's pid and host, and the first goes on", async () => {
    const folder = await freshFolder();
    const path = `${folder}/K.zarr`;
    // Slow enough to be at work still when the second has started, however busy the machine is.
    const task: ChildTask = { path, rows, tile, delayMs: 400, shard: { index: 0, count: 1 } };
    const first = await start(folder, task);
    await untilLocked(path, first);
    const second = await start(folder, task);
    const pid = first.process.pid ?? 0;
    expect(await second.outcome).toMatchObject({
      code: "E_LOCKED",
      message: expect.stringContaining(`process ${pid} on ${files.self.host} has been working on this shard`) as string,
    });
    const before = await tilesOnDisk(path);
    while (first.process.exitCode === null && (await tilesOnDisk(path)) === before) await pause(10);
    first.process.kill("SIGKILL");
    expect(await first.outcome).toBeUndefined();
    const third = await start(folder, { ...task, delayMs: 0 });
    expect((await third.outcome)?.tilesReused).toBeGreaterThan(before);
    expect(await verify(await KernelStore.open(files, path))).toMatchObject({ complete: 55, damaged: [] });
  });

  it("and more, each on its own shard of one store that does not exist yet, fill it together", async () => {
    const folder = await freshFolder();
    const path = `${folder}/K.zarr`;
    const count = 3;
    const children = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        start(folder, { path, rows, tile, delayMs: 2, shard: { index, count } }),
      ),
    );
    for (const child of children) expect(await child.outcome).toMatchObject({ tilesReused: 0 });
    expect(await verify(await KernelStore.open(files, path))).toMatchObject({ complete: 55, missing: [], damaged: [] });
    expect((await files.list(path)).sort()).toEqual(["c", "zarr.json"]);
  });
});
