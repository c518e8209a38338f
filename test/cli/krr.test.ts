/** `widefield krr` and `widefield sweep krr` as processes. */
import { readFile, readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { start, wasm, widefield, workspace } from "./run.ts";

const space = workspace();
const sets = ["--train", "0:60", "--test", "60000:60040"];

interface Row {
  readonly lambda: number;
  readonly train: { readonly squaredError: number } | null;
  readonly test: { readonly squaredError: number; readonly accuracy: number } | null;
}

describe("widefield krr", () => {
  const command = ["krr", ...wasm, ...sets, "--kernel", "ntk2", "--lambda", "1e-2:1e2:3"];

  it("prints a table, leaves results, a manifest and arrays, and finds its kernels again", async () => {
    const out = space.path("K");
    const keep = ["--keep-coefficients", space.path("a.npy"), "--keep-predictions", space.path("p.npy")];
    const { code, stdout, stderr } = await widefield(...command, "--out", out, ...keep);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^krr: \w+: about .*\n$/) as string });
    const [head = "", ...lines] = stdout.split("\n");
    expect(head).toMatch(/^lambda +train squared error +train R\^2 +train accuracy +test squared error/);
    expect(lines.slice(0, 3).map((line) => line.split(" ")[0])).toEqual(["0.01", "1", "100"]);
    expect((await readdir(out)).sort()).toEqual([
      "kxt.zarr",
      "kxx.zarr",
      "manifest.json",
      "results.csv",
      "results.json",
    ]);
    const { rows } = JSON.parse(await readFile(`${out}/results.json`, "utf8")) as { rows: Row[] };
    const again = await widefield(...command, "--out", out, "--json");
    const printed = JSON.parse(again.stdout) as { rows: Row[]; kernelTime: { pairs: number }; problem: string };
    expect(printed).toMatchObject({
      rows,
      solvedLambdas: [0.01, 1, 100],
      kernelTime: { pairs: 0 },
      kernel: { name: "ntk2" },
      problem: "digits",
      train: "0:60",
    });
    const before = await readFile(`${out}/results.json`, "utf8");
    const refused = await widefield(...command, "--out", out, "--lambda", "1e-2,1,99");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain(
      "holds the results of another regression (stored -> asked for):\n  lambdas[2]: 100 -> 99",
    );
    expect(await readFile(`${out}/results.json`, "utf8")).toBe(before);
    for (const [name, shape] of [
      ["a.npy", "(3, 60, 10)"],
      ["p.npy", "(3, 40, 10)"],
    ] as const)
      expect((await readFile(space.path(name))).toString("latin1", 0, 128)).toContain(shape);
    const part = ["--train", "0:50", "--test", "60000:60030", "--kxx", `${out}/kxx.zarr`, "--kxt", `${out}/kxt.zarr`];
    const taken = await widefield("krr", ...wasm, "--kernel", "ntk2", "--lambda", "1", ...part);
    expect(taken.stdout).toContain("from disk");
  });

  it.each([
    ["no ridge", ["--lambda", "1:2"], 'lambda "1:2"'],
    [
      "a singular kernel without one",
      ["--kernel", "poly", "--degree", "1", "--lambda", "-1"],
      "K + lambda I is not positive",
    ],
    ["two names", ["--dataset", "digits", "--data", "mnist"], "give one of them"],
    ["predictions of nothing", ["--keep-predictions", "p.npy", "--test="], "--test"],
  ])("refuses %s", async (_, more, message) => {
    const { code, stdout, stderr } = await widefield(...command, ...more);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(message);
  });
});

describe("widefield sweep krr", () => {
  const grid = [
    "--noise",
    "hf",
    "--levels",
    "0,2",
    "--kernels",
    "ntk2,poly2",
    "--constants",
    "0.5,2",
    "--lambda",
    "1e-2,1",
  ];
  const sweep = (out: string, ...more: string[]) => [
    "sweep",
    "krr",
    ...wasm,
    ...sets,
    ...grid,
    "--out",
    space.path(out),
    ...more,
  ];

  it("stops on Ctrl-C, goes on with the same command, and refuses another grid for its folder", async () => {
    let asked = false;
    const running = start(...sweep("S"));
    running.process.stderr?.on("data", (chunk: Buffer) => {
      if (asked || !chunk.toString().includes("1 of 6")) return;
      asked = true;
      running.process.kill("SIGINT");
    });
    const stopped = await running.outcome;
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toMatch(/stopped with \d of 6 fits finished; the same command goes on/);
    const { code, stdout, stderr } = await widefield(...sweep("S"));
    expect(code).toBe(0);
    expect(stderr).toMatch(/^\d of 6 fits were finished already\n/);
    expect(stdout).toMatch(/^model +level +lambda +test squared error/);
    expect((await readdir(space.path("S"))).sort()).toEqual([
      ...["cells", "errors.png", "errors.svg", "errors.vl.json"],
      ...["report.html", "results.csv", "results.jsonl", "sweep.json"],
    ]);
    const other = await widefield(...sweep("S", "--levels", "0,3"));
    expect(other.code).toBe(1);
    expect(other.stderr).toContain("grid.levels[1]: 2 -> 3");
  });

  it("prints the paper's grid", async () => {
    const { code, stdout } = await widefield("sweep", "krr", "--noise", "hf", "--grid", "paper", "--dry-run");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^digits-hf: 495 fits, levels 0 1 .* 14\n/);
    expect(stdout).toMatch(/^poly4-c8 +20 +0\.1 to 100000$/m);
    const { stderr } = await widefield("sweep", "krr", "--levels", "0", "--dry-run");
    expect(stderr).toContain("needs --kernels, or --grid paper");
    const plain = await widefield("sweep", "krr", "--grid", "paper", "--dry-run");
    expect(plain).toMatchObject({ code: 1, stdout: "" });
    expect(plain.stderr).toContain("choose digits-hf or digits-lf");
  });

  it("of which nothing could be solved exits with 1, and a typo leaves no folder", async () => {
    const failing = ["--levels", "0", "--kernels", "ntk2", "--lambda=-1e6"];
    const { code, stdout } = await widefield(...sweep("F", ...failing));
    expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringContaining("level-00.ntk2 failed") as string });
    const typo = await widefield(...sweep("T", "--levels", "0,99"));
    expect(typo.code).toBe(1);
    expect(typo.stderr).toContain("level 99 is out of range: digits-hf has levels 0 to 14");
    await expect(readdir(space.path("T"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});
