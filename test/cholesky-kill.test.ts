/** Out-of-core factorisations in processes of their own: killed at any moment, and measured from outside. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import esbuild from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { choleskyPlan, panelRanges } from "../sdk/linalg/plan.ts";
import { Tiling } from "../sdk/linalg/tiling.ts";
import type { ChildOutcome, ChildTask } from "./cholesky-child.ts";
import { planOf } from "./forced-plan.ts";

let parent: string;
let script: string;

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "widefield-kill-"));
  script = join(parent, "child.mjs");
  const dist = pathToFileURL(join(import.meta.dirname, "../dist")).href;
  await esbuild.build({
    entryPoints: [join(import.meta.dirname, "cholesky-child.ts")],
    outfile: script,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "es2022",
    external: ["webgpu"],
    define: { WIDEFIELD_VERSION: JSON.stringify(WIDEFIELD_VERSION), WIDEFIELD_ASSETS: JSON.stringify(`${dist}/`) },
  });
});
afterAll(() => rm(parent, { recursive: true }));

interface Child {
  readonly process: ChildProcess;
  /** Undefined if it was killed. */
  readonly outcome: Promise<ChildOutcome | undefined>;
}

function start(task: ChildTask): Child {
  const child = spawn(process.execPath, [script, JSON.stringify(task)], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  const outcome = once(child, "close").then(([, signal]) =>
    signal === "SIGKILL" ? undefined : (JSON.parse(output) as ChildOutcome),
  );
  return { process: child, outcome };
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until this very process works in the folder (a killed one's lock may be there before), or has ended. */
async function untilLocked(folder: string, { process }: Child): Promise<void> {
  while (process.exitCode === null && process.signalCode === null) {
    const lock = await readFile(`${folder}/.factor.lock`, "utf8").catch(() => "");
    if (lock.includes(`"pid":${process.pid ?? -1},`)) return;
    await pause(1);
  }
}

async function finishedColumns(folder: string): Promise<number> {
  const state = await readFile(`${folder}/factor.json`, "utf8").catch(() => undefined);
  return state === undefined ? 0 : (JSON.parse(state) as { finishedColumns: number }).finishedColumns;
}

describe("a killed factorisation", () => {
  it("at random moments, then resumed, ends with the same bits and leaves nothing", async () => {
    const [n, tile] = [400, 16];
    const plan = planOf(n, tile, "scratch", 2);
    const tiling = new Tiling(n, tile);
    const panels = panelRanges(tiling, plan.panelBytes);
    expect(panels.length).toBeGreaterThan(5);
    const folder = join(parent, "scratch");
    const task: ChildTask = { n, tile, plan, blockSize: tile, threads: 2, rightHandSides: 3, folder };
    const whole = await start({ ...task, folder: join(parent, "whole") }).outcome;

    let before = 0;
    let kills = 0;
    let progressed = 0;
    for (let turn = 0; turn < 12; turn++) {
      // 325 blocks of 3 ms and more, those of the diagonal twice: no turn finishes what is left of them.
      const child = start({ ...task, delayMs: 3 });
      // A quarter of the kills fall anywhere from the process's start on, the others into its work.
      if (turn % 4 !== 0) await untilLocked(folder, child);
      await pause(Math.random() * 250);
      child.process.kill("SIGKILL");
      const outcome = await child.outcome;
      // Only whole panels are saved, and what is saved stays.
      const now = await finishedColumns(folder);
      expect(now).toBeGreaterThanOrEqual(outcome === undefined ? before : 0);
      expect([0, ...panels.map(({ end }) => end)]).toContain(now);
      if (outcome !== undefined) expect(outcome.solution).toBe(whole?.solution);
      else kills++;
      if (now > before) progressed++;
      before = now;
    }
    expect(kills).toBeGreaterThan(6);
    // From here on one panel more each turn, killed as soon as it is there.
    for (let turn = 0; turn < 2; turn++) {
      const child = start({ ...task, delayMs: 3 });
      await untilLocked(folder, child);
      const found = await finishedColumns(folder);
      while (child.process.exitCode === null && (await finishedColumns(folder)) <= found) await pause(1);
      child.process.kill("SIGKILL");
      if ((await child.outcome) !== undefined) continue;
      expect(await finishedColumns(folder)).toBeGreaterThan(found);
      progressed++;
    }
    expect(progressed).toBeGreaterThan(0);
    const finished = await finishedColumns(folder);
    const last = await start(task).outcome;
    expect(last?.solution).toBe(whole?.solution);
    if (finished < tiling.blocks - 1) expect(last?.firstColumn).toBe(finished * tile);
    // A process killed before it saved anything leaves nothing that says who made the folder: it stays, empty.
    expect((await readdir(parent)).filter((name) => name !== "scratch")).toEqual(["child.mjs"]);
    expect(await readdir(folder).catch(() => [])).toEqual([]);
  });
});

describe("memory", () => {
  it("out of core stays below the plan's, measured from outside, though the matrix is larger", async () => {
    const n = 6000;
    const plan = choleskyPlan(n, { memoryBytes: 200 * 2 ** 20, threads: 2, wasmBytes: 64 * 2 ** 20 });
    expect(plan.where).toBe("scratch");
    expect(plan.panels).toBeGreaterThan(3);
    const folder = join(parent, "measured");
    const outcome = await start({ n, plan, threads: 2, rightHandSides: 20, folder }).outcome;
    expect(outcome?.where).toBe("scratch");
    expect(outcome?.peakBytes).toBeLessThan(plan.memoryBytes);
    expect(outcome?.peakBytes).toBeGreaterThan(plan.panelBytes);
  });
});
