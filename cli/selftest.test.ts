import { beforeAll, describe, expect, it } from "vitest";
import { kernels } from "../sdk/engine/kernels/index.ts";
import { runProgram, type Ended } from "../test/runtimes/processes.ts";

const cli = new URL("../dist/cli.js", import.meta.url).pathname;
const run = (...words: string[]): Promise<Ended> => runProgram(process.execPath, [cli, "selftest", ...words]);

describe("widefield selftest", () => {
  let table: Ended;
  let gpu: Ended;
  beforeAll(async () => {
    table = await run("--backend", "wasm", "--threads", "2");
    gpu = await run("--backend", "webgpu", "--adapter", "swiftshader", "--threads", "2", "--json", "--quiet");
  }, 600_000); // every kernel's rate on a software GPU takes a while on a busy machine

  it("prints a line for every kernel with its error and rate, and exits with 0", () => {
    expect(table.code).toBe(0);
    // A launch of these consumes its input and cannot be repeated for a rate: `widefield bench linalg` times them together.
    const unrated = /^(cholesky|tridiagonal|eigen)/;
    for (const { name } of kernels) {
      const rate = unrated.test(name) ? "" : ".*/s";
      expect(table.stdout).toMatch(new RegExp(`^${name} .*\\de[+-]\\d+${rate} .*ok$`, "m"));
    }
    expect(table.stdout).toContain(`all ${kernels.length} kernels agree with float64`);
  });

  it("covers a GPU and the float64 kernels beside it, as one JSON object", () => {
    expect(gpu.code).toBe(0);
    const report = JSON.parse(gpu.stdout) as { ok: boolean; kernels: { kernel: string; adapter: string }[] };
    expect(report).toMatchObject({ ok: true, backend: "webgpu", software: true, seed: 0 });
    expect(report.kernels.map(({ kernel }) => kernel).sort()).toEqual(kernels.map(({ name }) => name).sort());
    for (const { kernel, adapter } of report.kernels) {
      const wasmOnly = kernels.find(({ name }) => name === kernel)?.geometry === undefined;
      expect(adapter).toMatch(wasmOnly ? /threads|relaxed/ : /swiftshader/i);
    }
  });

  it("says what was looked for when there is no such adapter", async () => {
    const { code, stderr, stdout } = await run("--backend", "webgpu", "--adapter", "no such adapter");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("no such adapter");
    expect(stderr).toContain("E_NO_ADAPTER");
  });
});
