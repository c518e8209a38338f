/** `widefield search` as processes: what it prints, records, refuses, survives. */
import { readFile, readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { archToJson } from "../../sdk/arch/arch.ts";
import { archFromJson } from "../../sdk/arch/json.ts";
import { start, wasm, widefield, workspace } from "./run.ts";

const space = workspace();
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const sets = ["--train", "0:40", "--validation", "1000:1020", "--test", "60000:60020"];

function search(out: string, ...more: string[]): string[] {
  return ["search", ...wasm, ...sets, "--out", space.path(out), ...more];
}

interface Result {
  readonly rows: { readonly seed: number; readonly status: string; readonly error: object | null }[];
  readonly files: Readonly<Record<string, string>>;
}

async function resultOf(...args: string[]): Promise<Result> {
  const { code, stdout } = await widefield(...args, "--json");
  expect(code).toBe(0);
  return JSON.parse(stdout) as Result;
}

const errorsOf = ({ rows }: Result) => rows.map(({ seed, status, error }) => ({ seed, status, error }));

async function finished(out: string): Promise<number> {
  return (await readdir(`${space.path(out)}/seeds`).catch(() => [])).filter((name) => name.endsWith(".json")).length;
}

describe("widefield search --dry-run", () => {
  it("prints a line for every architecture, with the layer that does not fit, and needs no data", async () => {
    const { code, stdout, stderr } = await widefield("search", "--data", "mnist", "--dry-run", "--seeds", "31,56,1234");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [head = "", ...lines] = stdout.trimEnd().split("\n");
    expect(head.trim().split(/ {2,}/)).toEqual([
      "seed",
      "layers",
      "filter",
      "stride",
      "padding",
      "nonlinearity",
      "skips",
      "weights",
      "biases",
    ]);
    const cells = lines.map((line) => line.trim().split(/ {2,}/));
    expect(cells[0]).toEqual(["31", "7", "7", "1", "same-tf", "relu", "every 1", "2.7884", "7.8648"]);
    expect(cells[1]?.slice(0, 7)).toEqual(["56", "12", "3", "2", "valid", "erf", "none"]);
    expect(cells[1]?.at(-1)).toMatch(/^architecture\.layers\[6\] \(conv 3x3 stride 2x2 valid\): a filter/);
    expect(cells[2]?.slice(0, 5)).toEqual(["1234", "4", "5 2 5 2", "1", "valid same-tf valid same-tf"]);
  });

  it("with --json has the architectures of all 61 seeds, which --arch takes", async () => {
    const { code, stdout } = await widefield("search", "--dry-run", "--json");
    expect(code).toBe(0);
    const { architectures } = JSON.parse(stdout) as { architectures: { seed: number; arch: { type: string } }[] };
    expect(architectures).toHaveLength(61);
    expect(architectures[30]).toMatchObject({ seed: 31, weightVariance: 2.788430573284125, status: "valid" });
    for (const { arch } of architectures) expect(archToJson(archFromJson(arch))).toEqual(arch);
  });

  it("follows --skips and --shard", async () => {
    const { stdout } = await widefield("search", "--dry-run", "--skips", "paper", "--seeds", "29:33", "--shard", "0/2");
    const cells = stdout.split("\n").map((line) => line.trim().split(/ {2,}/));
    expect(cells.slice(1, 3).map(([seed, , , , , , skips]) => [seed, skips])).toEqual([
      ["29", "none"],
      ["31", "none"],
    ]);
  });
});

describe("widefield search", () => {
  it("prints a table with the best first, and leaves rows, a chart and its specification", async () => {
    const { code, stdout, stderr } = await widefield(...search("S", "--seeds", "1,56,12"));
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^1 of 3: seed 1: validation [\d.]+ %, test [\d.]+ % \([\d.]+ s\)\n2 of 3: seed 56: invalid: architecture\.layers\[6\].*\n3 of 3: seed 12: .*\n$/,
    );
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^validation +test +train +seed +layers/);
    const validation = lines.slice(1, 3).map((line) => Number.parseFloat(line));
    expect(validation[0]).toBeLessThanOrEqual(validation[1] ?? NaN);
    expect(lines[3]).toMatch(/^invalid +56 /);
    expect(lines[4]).toMatch(/^seed 56 is invalid: architecture\.layers\[6\] \(conv 3x3/);
    const names = [
      "errors.png",
      "errors.svg",
      "errors.vl.json",
      "results.csv",
      "results.jsonl",
      "search.json",
      "seeds",
    ];
    expect((await readdir(space.path("S"))).sort()).toEqual(names);
    expect((await readFile(space.path("S/results.csv"), "utf8")).trimEnd().split("\n")).toHaveLength(4);
    expect(await readFile(space.path("S/errors.svg"), "utf8")).toMatch(/^<svg xmlns=.*Random architectures on digits/s);
    const spec = JSON.parse(await readFile(space.path("S/errors.vl.json"), "utf8")) as { $schema: string };
    expect(spec.$schema).toMatch(/vega-lite/);
  });

  it("a second time runs nothing again; with --json it prints one object with the same rows", async () => {
    const args = search("S2", "--seeds", "1,12");
    const first = await resultOf(...args);
    const { code, stdout, stderr } = await widefield(...args, "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "2 of 2 seeds were finished already\n" });
    expect(JSON.parse(stdout)).toEqual(first);
    expect(Object.keys(first.files)).toEqual(["csv", "jsonl", "spec", "svg", "png"]);
  });

  it("in two shards at once has the rows of one that runs alone", async () => {
    const shards = ["0/2", "1/2"].map((shard) =>
      widefield(...search("shards", "--seeds", "1,12,19", "--shard", shard)),
    );
    expect((await Promise.all(shards)).map(({ code }) => code)).toEqual([0, 0]);
    const [shared, alone] = [
      await resultOf(...search("shards", "--seeds", "1,12,19")),
      await resultOf(...search("alone", "--seeds", "1,12,19")),
    ];
    expect(errorsOf(shared)).toEqual(errorsOf(alone));
  });

  it("stopped by Ctrl-C exits with 130 and goes on; killed at any moment it loses the running seed only", async () => {
    const args = search("stopped", "--seeds", "1:4,12,19");
    for (const signal of ["SIGINT", "SIGKILL", "SIGKILL", "SIGKILL"] as const) {
      const before = await finished("stopped");
      const run = start(...args);
      while ((await finished("stopped")) === before && run.process.exitCode === null) await pause(2);
      await pause(Math.random() * 40);
      run.process.kill(signal);
      const { code, stderr } = await run.outcome;
      if (signal === "SIGINT") {
        expect(code).toBe(130);
        expect(stderr).toMatch(/stopped with \d of 5 seeds finished; the same command goes on \[E_ABORTED\]\n$/);
      }
      expect(await finished("stopped")).toBeGreaterThan(before);
    }
    const [stopped, whole] = [await resultOf(...args), await resultOf(...search("whole", "--seeds", "1:4,12,19"))];
    expect(errorsOf(stopped)).toEqual(errorsOf(whole));
    expect(await finished("stopped")).toBe(5);
  });
});

describe("widefield search refuses", () => {
  it.each([
    [[], 2, /needs --validation, --test and --out, or --dry-run/],
    [["--skips", "never"], 2, /Allowed choices are script, paper/],
    [["--seeds", "5:5", "--dry-run"], 1, /--seeds: seeds "5:5": 5:5 is empty; write seeds and ranges.*\[E_CONFIG\]/],
    [["--seeds", "1,x", "--dry-run"], 1, /"x" is neither a seed nor a range/],
    [["--shard", "2/2", "--dry-run"], 1, /--shard 2\/2: write i\/n with 0 <= i < n/],
    [["--data", "mnits", "--dry-run"], 1, /no dataset is named "mnits".*did you mean "mnist"/],
    [[...sets, "--out", "nowhere/at/all"], 1, /cannot create the folder nowhere\/at\/all.*\[E_IO\]/],
    [[...sets, "--validation", "0:5", "--out", "x"], 1, /validation overlaps train in 0:5.*\[E_RANGE\]/],
    [[...sets, "--test", "70000:70001", "--out", "x"], 1, /--test: .*out of bounds/],
    [[...sets, "--jitter", "much", "--out", "x"], 1, /--jitter is a number from 0 on/],
  ])("%j", async (args, exitCode, message) => {
    const { code, stdout, stderr } = await widefield("search", ...args);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" });
  });

  it("the folder of another configuration, with the difference, and leaves it as it was", async () => {
    const args = search("C", "--seeds", "1");
    const first = await resultOf(...args);
    const other = await widefield(...search("C", "--seeds", "1"), "--test", "60000:60030", "--jitter", "1e-3");
    expect(other).toMatchObject({ code: 1, stdout: "" });
    expect(other.stderr).toMatch(
      /C holds another search \(stored -> asked for\):\n {2}test: 60000:60020 -> 60000:60030\n {2}jitter: noise -> 0\.001\nChoose.*\[E_MISMATCH\]\n$/,
    );
    expect(await resultOf(...args)).toEqual(first);
  });
});
