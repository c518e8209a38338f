/** `widefield kernel` and `widefield gp` as processes: what they print, resume, survive. */
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { contentOf } from "../kernel-job-fixtures.ts";
import { start, wasm, widefield, workspace } from "./run.ts";

const space = workspace();
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The tiles of a store, by name, in hexadecimal. */
async function tilesOf(path: string): Promise<Record<string, string>> {
  const content = await contentOf(path).catch(() => new Map<string, Buffer>());
  return Object.fromEntries(
    [...content].filter(([name]) => /^c\/\d+\/\d+$/.test(name)).map(([name, bytes]) => [name, bytes.toString("hex")]),
  );
}

describe("widefield gp --json", () => {
  it("prints one object with the documented fields, and nothing else on stdout", async () => {
    const gp = ["gp", ...wasm, ...space.arch, "--train", "0:60", "--validation", "60000:60020,60030:60040"];
    const { code, stdout, stderr } = await widefield(...gp, "--test", "61000:61025", "--json");
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^solve: cholesky [^\n]*\n$/) as string,
    });
    expect(stdout).toMatch(/^\{.*\}\n$/);
    const result = JSON.parse(stdout) as Record<string, Record<string, number>>;
    expect(Object.keys(result).sort()).toEqual(
      ["adapter", "arch", "backend", "calibration", "data", "error", "kernel", "logMarginalLikelihood", "precision"]
        .concat(["solve", "store", "temperature", "test", "threads", "train", "validation", "variance"])
        .sort(),
    );
    expect(result).toMatchObject({ backend: "wasm", threads: 2, precision: "f32", store: null });
    expect(result).toMatchObject({ train: "0:60", test: "61000:61025", data: { name: "digits" } });
    expect(Object.keys(result["error"] ?? {})).toEqual(["train", "validation", "test"]);
    expect((result["error"]?.["test"] ?? NaN) % 4).toBe(0);
    expect(Object.keys(result["kernel"] ?? {})).toEqual(["seconds", "pairs", "pairsPerSecond"]);
    expect(result["kernel"]?.["pairs"]).toBe((60 * 61) / 2 + 60 * (30 + 25));
    expect(Object.keys(result["solve"] ?? {})).toEqual([
      ...["solver", "reason", "seconds", "gflops", "jitter", "lambda"],
    ]);
  });

  it("with a folder of stores resumes from it, and gives the same errors", async () => {
    const gp = ["gp", ...wasm, ...space.arch, "--train", "0:50", "--test", "60000:60030", "--tile", "16", "--json"];
    const run = async (...more: string[]) => {
      const { code, stdout } = await widefield(...gp, ...more);
      expect(code).toBe(0);
      return JSON.parse(stdout) as { error: object; kernel: { pairs: number }; store: string | null };
    };
    const stores = ["--store", space.path("stores")];
    const [plain, first, second] = [await run(), await run(...stores), await run(...stores)];
    expect(first).toMatchObject({
      error: plain.error,
      kernel: { pairs: plain.kernel.pairs },
      store: space.path("stores"),
    });
    expect(second).toMatchObject({ error: plain.error, kernel: { pairs: 0 } });
    // The first part of a larger run's kernels.
    const part = ["--train", "0:40", "--test", "60000:60010"];
    const kept = ["--kxx", space.path("stores/kxx.zarr"), "--kxt", space.path("stores/kxt.zarr")];
    expect(await run(...part, ...kept)).toMatchObject({ error: (await run(...part)).error, kernel: { pairs: 0 } });
    // Another architecture is refused before anything of it is computed into the folder.
    await writeFile(space.path("other.json"), JSON.stringify({ type: "flatten" }));
    await rm(space.path("stores/kxt.zarr"), { recursive: true });
    const other = await widefield(...gp, ...stores, "--arch", space.path("other.json"));
    expect(other.stderr).toMatch(/E_MISMATCH/);
    await expect(stat(space.path("stores/kxt.zarr"))).rejects.toThrow(/ENOENT/);
  });

  it("does not mix an imported kernel, of an architecture that nobody knows, with kernels of its own", async () => {
    const rows = ["--rows", "0:40", ...space.arch, ...wasm];
    await widefield("kernel", ...rows, "--out", space.path("mine.zarr"));
    await widefield("kernel", "export", space.path("mine.zarr"), space.path("mine.npy"));
    await widefield("kernel", "import", space.path("mine.npy"), space.path("imported.zarr"));
    const gp = ["gp", ...wasm, "--train", "0:40", "--test", "60000:60010", "--kxx", space.path("imported.zarr")];
    const { code, stderr } = await widefield(...gp);
    expect(code).toBe(1);
    expect(stderr).toMatch(/imported\.zarr was imported and is of an unknown architecture/);
  });

  it("warns of images that are in two sets, on stderr, and goes on", async () => {
    const gp = ["gp", ...wasm, ...space.arch, "--train", "0:30", "--test", "20:40", "--json"];
    const { code, stdout, stderr } = await widefield(...gp);
    expect(stderr).toMatch(/^warning: test overlaps train in 20:30: /);
    expect(code).toBe(0);
    expect(() => JSON.parse(stdout) as unknown).not.toThrow();
    expect((await widefield(...gp, "--quiet")).stderr).toBe("");
  });

  it("writes scores that sum to 1, with variances on request", async () => {
    const scores = space.path("scores.csv");
    const gp = ["gp", ...wasm, ...space.arch, "--train", "0:40", "--validation", "50:60", "--test", "60000:60007"];
    expect((await widefield(...gp, "--scores", scores, "--variance")).code).toBe(0);
    const [head, ...lines] = (await readFile(scores, "utf8")).trimEnd().split("\n");
    expect(head).toMatch(/^set,index,label,predicted,score_0,.*,score_9,variance$/);
    expect(lines).toHaveLength(17);
    for (const line of lines) {
      const cells = line.split(",");
      expect(cells.slice(4, 14).reduce((sum, cell) => sum + Number(cell), 0)).toBeCloseTo(1, 9);
      expect(Number(cells[14])).toBeGreaterThan(0);
    }
    expect(lines[10]).toMatch(/^test,60000,/);
  });
});

describe("widefield kernel", () => {
  const kernel = (name: string, ...more: string[]) =>
    widefield("kernel", ...wasm, ...space.arch, "--rows", "0:70", "--tile", "16", "--out", space.path(name), ...more);

  it("says what was there, and computes the rest", async () => {
    expect((await kernel("K.zarr")).stderr).toBe("");
    const whole = await tilesOf(space.path("K.zarr"));
    expect(Object.keys(whole)).toHaveLength(15);
    await rm(space.path("K.zarr/c/3/1"));
    await writeFile(space.path("K.zarr/c/2/2"), "not a tile");
    const verified = await widefield("kernel", "verify", space.path("K.zarr"));
    expect(verified.code).toBe(1);
    expect(verified.stdout).toMatch(
      /missing {2}tile \(3, 1\)\ndamaged {2}tile \(2, 2\) .*\n.*13 of 15 tiles are sound/,
    );
    const again = await kernel("K.zarr", "--json");
    expect(again.stderr).toBe("13 of 15 tiles were there already\n1 damaged tiles were computed again\n");
    expect(JSON.parse(again.stdout)).toMatchObject({
      tiles: 15,
      tilesReused: 13,
      tilesRepaired: 1,
      rows: 70,
      columns: 70,
    });
    expect(await tilesOf(space.path("K.zarr"))).toEqual(whole);
    expect((await widefield("kernel", "verify", space.path("K.zarr"), "--json")).code).toBe(0);
  });

  it("in shards, by processes at the same time, makes the same store", async () => {
    await kernel("whole.zarr");
    const shards = await Promise.all(["0/3", "1/3", "2/3"].map((shard) => kernel("shards.zarr", "--shard", shard)));
    expect(shards.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(3).fill({ code: 0, stderr: "" }));
    expect(await tilesOf(space.path("shards.zarr"))).toEqual(await tilesOf(space.path("whole.zarr")));
  });

  it("exported, imported in tiles of the asked size, and exported again, is the same file", async () => {
    await kernel("there.zarr");
    const [npy, again] = [space.path("there.npy"), space.path("again.npy")];
    for (const args of [
      ["export", space.path("there.zarr"), npy],
      ["import", npy, space.path("back.zarr"), "--tile", "25"],
      ["export", space.path("back.zarr"), again],
    ])
      expect(await widefield("kernel", ...args)).toMatchObject({ code: 0, stderr: "" });
    expect((await readFile(again)).equals(await readFile(npy))).toBe(true);
    expect(Object.keys(await tilesOf(space.path("back.zarr")))).toHaveLength(6);
  });

  it("--diag writes the diagonal of the matrix as a vector", async () => {
    const rows = ["--rows", "3:20,60000:60005", ...space.arch, ...wasm];
    await widefield("kernel", ...rows, "--out", space.path("d.zarr"));
    await widefield("kernel", "export", space.path("d.zarr"), space.path("d-full.npy"));
    const { code, stdout } = await widefield("kernel", ...rows, "--diag", "--out", space.path("d.npy"), "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ images: 22 });
    const [full, vector] = await Promise.all(["d-full.npy", "d.npy"].map((name) => readFile(space.path(name))));
    expect(vector?.subarray(10, 80).toString()).toMatch(/'descr': '<f8', 'fortran_order': False, 'shape': \(22,\)/);
    for (let i = 0; i < 22; i++)
      expect(vector?.readDoubleLE(vector.length - 8 * (22 - i))).toBe(
        full?.readDoubleLE(full.length - 8 * (484 - 23 * i)),
      );
    expect((await widefield("kernel", ...rows, "--diag", "--cols", "0:4", "--out", "x")).code).toBe(2);
  });

  it("in too little memory names the least that works, which works, and leaves no store behind", async () => {
    const run = (name: string, memory: string) =>
      widefield("kernel", ...wasm, ...space.arch, "--rows", "0:600", "--out", space.path(name), "--memory", memory);
    const refused = await run("M.zarr", "9MB");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    const [, least = ""] = /one 256 x 256 tile needs .* give at least --memory (\d+)KiB/.exec(refused.stderr) ?? [];
    expect(refused.stderr).toMatch(/KiB.*\[E_MEMORY\]/);
    expect(await contentOf(space.path("M.zarr")).catch(() => "none")).toBe("none");
    expect((await run("M.zarr", `${Number(least) - 1}KiB`)).code).toBe(1);
    expect(await run("M.zarr", `${least}KiB`)).toMatchObject({ code: 0, stderr: "" });
    const [, tile = ""] = /--tile (\d+)/.exec(refused.stderr) ?? [];
    if (tile !== "") expect(await kernel("M2.zarr", "--memory", "9MB", "--tile", tile)).toMatchObject({ code: 0 });
  });

  it("two processes on one shard: the second is refused, the first goes on", async () => {
    const args = [
      "kernel",
      "--backend",
      "wasm",
      "--threads",
      "1",
      "--rows",
      "0:600",
      "--tile",
      "32",
      "--out",
      space.path("L.zarr"),
    ];
    const first = start(...args);
    while (Object.keys(await tilesOf(space.path("L.zarr"))).length === 0) await pause(5);
    const second = await widefield(...args);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toMatch(
      new RegExp(`process ${first.process.pid ?? 0} on .* has been working on this shard.*\\[E_LOCKED\\]`, "s"),
    );
    expect(await first.outcome).toMatchObject({ code: 0 });
    expect((await widefield("kernel", "verify", space.path("L.zarr"))).code).toBe(0);
  });
});

describe("interrupted", () => {
  const rows = 500;
  const args = (name: string) => [
    "kernel",
    "--backend",
    "wasm",
    "--threads",
    "1",
    "--rows",
    `0:${rows}`,
    "--tile",
    "32",
    "--out",
    space.path(name),
  ];

  it("by Ctrl-C it stops after the tile, exits with 130, and resumes to the same bytes", async () => {
    const run = start(...args("ctrl-c.zarr"));
    while (Object.keys(await tilesOf(space.path("ctrl-c.zarr"))).length < 3) await pause(5);
    run.process.kill("SIGINT");
    const { code, stdout, stderr } = await run.outcome;
    expect(code).toBe(130);
    expect(stdout).toBe("");
    expect(stderr).toMatch(
      /^stopping after what is under way; Ctrl-C again to stop at once\nwidefield: .*stopped with \d+ of 136 tiles on disk; the same command goes on \[E_ABORTED\]\n$/,
    );
    const before = Object.keys(await tilesOf(space.path("ctrl-c.zarr"))).length;
    expect((await widefield(...args("ctrl-c.zarr"))).stderr).toBe(`${before} of 136 tiles were there already\n`);
    expect((await widefield(...args("at-once.zarr"))).code).toBe(0);
    expect(await tilesOf(space.path("ctrl-c.zarr"))).toEqual(await tilesOf(space.path("at-once.zarr")));
  });

  it("by SIGKILL, twenty times at random moments, it resumes to the same bytes", async () => {
    // The last run above left the whole store to compare with; two threads must make the same bytes as one.
    let killed = 0;
    for (let turn = 0; killed < 20; turn++) {
      const run = start(...args("killed.zarr"));
      const before = Object.keys(await tilesOf(space.path("killed.zarr"))).length;
      // Some at once, most when work is under way.
      const begun = performance.now();
      const moment = turn % 5 === 0 ? Math.random() * 250 : 0;
      while (moment === 0 && performance.now() - begun < 5000 && run.process.exitCode === null) {
        if (Object.keys(await tilesOf(space.path("killed.zarr"))).length > before) break;
        await pause(2);
      }
      await pause(moment === 0 ? Math.random() * 20 : moment);
      run.process.kill("SIGKILL");
      const { code, stderr } = await run.outcome;
      if (code === null) killed++;
      else {
        // It was done before it was killed: from the start again.
        expect({ code, stderr }).toMatchObject({ code: 0 });
        await rm(space.path("killed.zarr"), { recursive: true });
      }
    }
    expect(await widefield("kernel", ...wasm, ...args("killed.zarr").slice(5))).toMatchObject({ code: 0 });
    expect((await widefield("kernel", "verify", space.path("killed.zarr"))).code).toBe(0);
    expect(await tilesOf(space.path("killed.zarr"))).toEqual(await tilesOf(space.path("at-once.zarr")));
    expect(
      [...(await contentOf(space.path("killed.zarr"))).keys()].filter((name) => !/^c\/\d+\/\d+$/.test(name)),
    ).toEqual(["zarr.json"]);
  });
});

describe("a network of 40 layers", () => {
  it("is stored with a power of two in its manifest, exported in float64, and solved as it is", async () => {
    const conv = { type: "conv", filter: 7, weightVariance: 2.79 * 49, biasVariance: 7.86 };
    const layers = Array.from({ length: 40 }, () => [conv, { type: "relu" }]).flat();
    const read = { type: "dense", weightVariance: 2.79, biasVariance: 7.86 };
    await writeFile(
      space.path("deep.json"),
      JSON.stringify({ type: "serial", layers: [...layers, { type: "flatten" }, read] }),
    );
    const arch = ["--arch", space.path("deep.json")];
    const made = await widefield("kernel", ...wasm, ...arch, "--rows", "0:30", "--out", space.path("D.zarr"), "--json");
    const { exponent } = JSON.parse(made.stdout) as { exponent: number };
    expect(exponent).toBeGreaterThan(100);
    await widefield("kernel", "export", space.path("D.zarr"), space.path("D.npy"));
    const bytes = await readFile(space.path("D.npy"));
    const values = new Float64Array(
      bytes.buffer.slice(bytes.byteOffset + bytes.length - 30 * 30 * 8, bytes.byteOffset + bytes.length),
    );
    for (const value of values) expect(Math.abs(Math.log10(value) - 73)).toBeLessThan(4);
    const overflow = await widefield("kernel", "export", space.path("D.zarr"), space.path("D32.npy"), "--float32");
    expect(overflow).toMatchObject({ code: 1, stderr: expect.stringMatching(/E_OVERFLOW/) as string });
    const gp = ["gp", ...wasm, ...arch, "--train", "0:30", "--test", "60000:60010", "--json"];
    const [direct, stored] = [await widefield(...gp), await widefield(...gp, "--kxx", space.path("D.zarr"))];
    expect(direct).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^solve: cholesky [^\n]*\n$/) as string,
    });
    expect((JSON.parse(stored.stdout) as { error: object }).error).toEqual(
      (JSON.parse(direct.stdout) as { error: object }).error,
    );
  });
});
