/** The search itself, on real kernels of small images. */
import { readFile, readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshFolder } from "../../test/kernel-job-fixtures.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { fromArrays } from "../data/dataset.ts";
import { digits } from "../data/digits.ts";
import { parseRanges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { runGp } from "./gp.ts";
import { runSearch, type SearchExperiment } from "./search.ts";
import { drawnArch, drawArchitecture } from "./search-draw.ts";
import type { SearchRow } from "./search-row.ts";

const dataset = digits({ size: 12, seed: Date.now(), trainCount: 200, testCount: 100 });
const ranges = (text: string) => parseRanges(text, dataset.count);
const sets = { train: ranges("0:50"), validation: ranges("100:140"), test: ranges("200:230") };
/** Two layers with erf and one skip connection; three with relu and none behind; one whose images vanish. */
const seeds = [1, 12, 56];

let engine: Engine;
let files: Files;
beforeAll(async () => {
  engine = await wasmEngine();
  files = await nodeFiles();
});
afterAll(() => engine.close());

function search(path: string, changes: Partial<SearchExperiment> = {}) {
  return runSearch({ engine, dataset, ...sets, seeds, files, path, ...changes });
}

/** What does not depend on the clock. */
function timeless({ seed, status, reason, drawn, error, kernel, solve }: SearchRow) {
  return { seed, status, reason, drawn, error, pairs: kernel?.pairs, jitter: solve?.jitter };
}

async function place(): Promise<string> {
  return `${await freshFolder()}/search`;
}

describe("a search", () => {
  it("records for every seed the error rates of the GP with the drawn architecture", async () => {
    const { rows } = await search(await place());
    expect(rows.map(({ seed, status }) => [seed, status])).toEqual([
      [1, "done"],
      [12, "done"],
      [56, "invalid"],
    ]);
    for (const row of rows.slice(0, 2)) {
      const result = await runGp({ engine, dataset, ...sets, arch: drawnArch(drawArchitecture(row.seed)) });
      expect(row.error).toEqual(result.error);
      expect(row.kernel?.pairs).toBe((50 * 51) / 2 + 50 * (40 + 30));
      expect(row.solve?.jitter).toBe(result.solve.jitter);
    }
    expect(rows[2]?.reason).toMatch(/^architecture\.layers\[4\] \(conv 3x3 stride 2x2 valid\): .* does not fit/);
    expect(rows[2]).toMatchObject({ error: null, kernel: null, solve: null });
  });

  it("runs no finished seed again, and goes on with more seeds", async () => {
    const path = await place();
    await search(path, { seeds: [12, 56] });
    const before = await readFile(`${path}/seeds/0012.json`, "utf8");
    const ran = new Set<number>();
    const { rows } = await search(path, { onProgress: ({ seed }) => ran.add(seed) });
    expect([...ran]).toEqual([1]);
    expect(rows.map(({ seed }) => seed)).toEqual(seeds);
    expect(await readFile(`${path}/seeds/0012.json`, "utf8")).toBe(before);
  });

  it("stopped in its second seed keeps the first, and ends with the rows of one that was not stopped", async () => {
    const path = await place();
    const controller = new AbortController();
    const onProgress = ({ seed }: { seed: number }) => {
      if (seed === 12) controller.abort();
    };
    await expect(search(path, { signal: controller.signal, onProgress })).rejects.toMatchObject({
      code: "E_ABORTED",
      message: expect.stringMatching(/stopped with 1 of 3 seeds finished; the same command goes on$/) as string,
    });
    expect(await readdir(`${path}/seeds`)).toEqual(["0001.json"]);
    const [stopped, whole] = [await search(path), await search(await place())];
    expect(stopped.rows.map(timeless)).toEqual(whole.rows.map(timeless));
    expect((await readdir(path)).filter((name) => name.endsWith(".lock"))).toEqual([]);
  });

  it("in shards that share a folder, one after the other or at once, has the rows of a whole one", async () => {
    const path = await place();
    const shard = (index: number) => search(path, { shard: { index, count: 2 } });
    await Promise.all([shard(0), shard(1)]);
    const [again, whole] = [await shard(1), await search(await place())];
    expect(again.rows.map(timeless)).toEqual(whole.rows.map(timeless));
    expect((await readFile(`${path}/results.jsonl`, "utf8")).split("\n")).toHaveLength(4);
  });

  it("keeps kernels on request, with the same errors", async () => {
    const path = await place();
    const [kept, plain] = [
      await search(path, { seeds: [12], keepKernels: true }),
      await search(await place(), { seeds: [12] }),
    ];
    expect(kept.rows.map(timeless)).toEqual(plain.rows.map(timeless));
    expect((await readdir(`${path}/kernels/0012`)).sort()).toEqual(["kxt.zarr", "kxv.zarr", "kxx.zarr"]);
  });

  it("records a kernel that no solve accepts as failed, and goes on", async () => {
    // Twenty times the same training image, and no jitter: nineteen pivots are rounding errors of 0, and for all of them
    // to come out positive would be a coincidence of one in hundreds of thousands. A single one would be an even chance.
    const { images, labels } = dataset.select("0:31");
    const image = images.subarray(0, 144);
    const twins = fromArrays({
      shape: dataset.shape,
      images: images.map((value, at) => (at < 20 * 144 ? (image[at % 144] ?? Number.NaN) : value)),
      labels: [...labels],
      classes: 10,
    });
    const { rows } = await runSearch({
      ...{ engine, dataset: twins, files, path: await place(), seeds: [12, 56], jitter: 0 },
      ...{ train: ranges("0:20"), validation: ranges("20:25"), test: ranges("25:31") },
    });
    expect(rows.map(({ status }) => status)).toEqual(["failed", "invalid"]);
    expect(rows[0]?.reason).toMatch(/pivot.*\[E_NOT_POSITIVE_DEFINITE\]$/s);
  });

  it("refuses to compare networks by images that they were fitted to", async () => {
    const path = await place();
    await expect(search(path, { validation: ranges("40:60") })).rejects.toMatchObject({
      code: "E_RANGE",
      message: expect.stringMatching(/^validation overlaps train in 40:50: /) as string,
    });
    expect(await files.list(path)).toEqual([]);
  });
});
