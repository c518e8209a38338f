/** `widefield converge` as a process: its files, its JSON, Ctrl-C and resume, and what it refuses. */
import { readFile, readdir, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { contentOf } from "../kernel-job-fixtures.ts";
import { start, wasm, widefield, workspace } from "./run.ts";

const space = workspace();
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const converge = (name: string, ...more: string[]) => [
  "converge",
  ...wasm,
  ...space.arch,
  "--channels",
  "2,5",
  "--samples",
  "60",
  "--inputs",
  "4",
  "--out",
  space.path(name),
  ...more,
];

/** The sums and outputs of every width: all but the first line, which has times. */
async function drawsOf(name: string): Promise<Record<string, string>> {
  const states = [...(await contentOf(space.path(name)).catch(() => new Map<string, Buffer>()))];
  const bodies = states.filter(([file]) => file.endsWith(".state"));
  return Object.fromEntries(bodies.map(([file, bytes]) => [file, bytes.subarray(bytes.indexOf(10)).toString("hex")]));
}

describe("widefield converge", () => {
  it("prints one JSON object, and leaves tables, manifest and figure", async () => {
    const { code, stdout, stderr } = await widefield(
      ...converge("run", "--json", "--quiet", "--show", "1", "--seed", "3"),
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const printed = JSON.parse(stdout) as { widths: { covariance: object; output: object }[] };
    expect(printed).toMatchObject({
      manifest: { seed: 3, channels: [2, 5], samples: 60, backend: "wasm", dataset: { name: "digits" } },
      inputs: 4,
      show: 1,
      widths: [
        { channels: 2, draws: 60 },
        { channels: 5, draws: 60 },
      ],
    });
    expect(Object.keys(printed.widths[0]?.covariance ?? {})).toEqual(["error", "sampling", "rest"]);
    expect(Object.keys(printed.widths[0]?.output ?? {})).toEqual([
      "variance",
      "kurtosis",
      "kolmogorovSmirnov",
      "andersonDarling",
    ]);
    expect(JSON.parse(await readFile(space.path("run/converge.json"), "utf8"))).toEqual(printed);
    const files = [
      "converge.csv",
      "converge.json",
      "converge.png",
      "converge.svg",
      "converge.vl.json",
      "manifest.json",
      "outputs.csv",
    ];
    expect((await readdir(space.path("run"))).sort()).toEqual([...files, "width-2.state", "width-5.state"]);
    expect(await readFile(space.path("run/converge.svg"), "utf8")).toContain("the first 4 training images of digits");
  });

  it("prints a table, and a second time finds all draws there", async () => {
    const first = await widefield(...converge("table"));
    expect(first.stdout).toMatch(
      /^channels +covariance error[^]*^2 +\d+\.\d\d %[^]*^60 draws from the Gaussian process itself: /m,
    );
    expect(first.stderr).toMatch(/tables and figure are in/);
    expect((await widefield(...converge("table"))).stdout).toBe(first.stdout);
  });

  it("stopped by Ctrl-C exits with 130, and the same command ends with the same draws", async () => {
    const many = ["--samples", "4000"];
    const run = start(...converge("stopped", ...many));
    while (!(await readdir(space.path("stopped")).catch(() => [""])).includes("manifest.json")) await pause(5);
    await pause(150);
    run.process.kill("SIGINT");
    const { code, stdout, stderr } = await run.outcome;
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr).toMatch(
      /stopped with \d+ of 4000 draws of \d channels on disk; the same command goes on \[E_ABORTED\]/,
    );
    expect((await widefield(...converge("stopped", ...many))).code).toBe(0);
    expect((await widefield(...converge("whole", ...many))).code).toBe(0);
    expect(await drawsOf("stopped")).toEqual(await drawsOf("whole"));
  });

  it.each([
    [["--channels", "0"], /channels: a network has at least 1 channel, not 0 \[E_CONFIG\]/],
    [["--channels", "3,,5"], /--channels is a list of whole numbers such as 3,10,30, not "3,,5"/],
    [["--channels", "3,3"], /3 is listed twice/],
    [["--samples", "0"], /at least 2 draws, not 0/],
    [["--samples", "many"], /--samples is a whole number, not "many"/],
    [["--inputs", "60001"], /digits has 60000, not 60001 \[E_RANGE\]/],
    [["--inputs", "0"], /at least 1 image, not 0/],
    [["--show", "4"], /input 4 cannot be shown: the inputs are 0 to 3/],
    [["--arch", "convnet-pg"], /no preset "convnet-pg"/],
  ])("refuses %j, and makes no folder", async (args, message) => {
    const { code, stdout, stderr } = await widefield(...converge("refused", ...args));
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    await expect(readdir(space.path("refused"))).rejects.toThrow("ENOENT");
  });

  it("without --out is a usage error", async () => {
    expect(await widefield("converge")).toMatchObject({ code: 2, stdout: "" });
  });

  it("refuses the folder of another experiment line by line, and loses nothing of it", async () => {
    expect((await widefield(...converge("mine"))).code).toBe(0);
    const before = await drawsOf("mine");
    await writeFile(
      space.path("other.json"),
      JSON.stringify({ type: "serial", layers: [{ type: "flatten" }, { type: "dense" }] }),
    );
    for (const [args, message] of [
      [["--arch", space.path("other.json")], /arch\.layers\[0\]\.type: conv -> flatten/],
      [["--inputs", "5"], /inputs: 4 -> 5/],
      [["--samples", "10"], /holds 60 draws of 2 channels, more than the 10 asked for/],
    ] as const) {
      const { code, stderr } = await widefield(...converge("mine", ...args));
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/\[E_MISMATCH\]/);
      expect(code).toBe(1);
    }
    expect(await drawsOf("mine")).toEqual(before);
  });
});
