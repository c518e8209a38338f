/**
 * ConvNet GP kernels on wasm, 28 x 28: pairs per second by threads, from images to a finished store on disk (tables,
 * tiles, checksums, fsync), and in memory; medians of five.
 *
 *     npm run bench -- covariance [--images 1024] [--threads 1,2] [--rounds 5]
 *
 * Peak: a float32 multiply and an add on four lanes in every cycle is out of reach for this program (it has few
 * products, and a square root in every relu), so the share of peak is in operations per second against those of matmul
 * on the same machine, in the same minute.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { kernel, preset } from "../sdk/index.node.ts";
import { digits, nodeFiles, open } from "../sdk/index.node.ts";
import { matmul } from "../sdk/engine/kernels/index.ts";
import { storeKernel } from "../sdk/experiments/stored-kernel.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { table } from "../cli/format.ts";

const { values } = parseArgs({
  options: {
    images: { type: "string", default: "1024" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: [...new Set([1, availableParallelism()])].join(",") },
  },
});
const images = Number(values.images);
const rounds = Number(values.rounds);
const dataset = digits({ trainCount: images, testCount: 1 });
const arch = preset("convnet-gp");
const range = [{ start: 0, end: images }];
const selection = dataset.select(range);
const pairs = (images * (images + 1)) / 2;

/** Float32 operations of a pair: per pixel and layer 17/7 additions a pass, and 17 operations of the relu. */
const OPERATIONS = 784 * 7 * (2 * (17 / 7) + 17);

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

async function inMemory(engine: Engine): Promise<number> {
  return pairs / (await timed(() => kernel(engine, arch, selection)));
}

async function inStore(engine: Engine): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-bench-"));
  const files = await nodeFiles();
  const path = join(folder, "k.zarr");
  const seconds = await timed(() => storeKernel({ engine, dataset, arch, rows: range, files, path }));
  await rm(folder, { recursive: true });
  return pairs / seconds;
}

/** GFLOP/s of a 512^3 product, as the yardstick. */
async function matmulRate({ backend }: Engine): Promise<number> {
  const n = 512;
  const slots = [1, 2, 3].map(() => backend.allocate(n * n * 4, "yardstick"));
  const params = { m: n, n, k: n, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
  for (const slot of slots) backend.write(slot, 0, new Float32Array(n * n).fill(1));
  const seconds = await timed(async () => {
    for (let i = 0; i < 8; i++) backend.dispatch(matmul, params, slots);
    await backend.finish();
  });
  for (const slot of slots) backend.free(slot);
  return (8 * 2 * n ** 3) / seconds / 1e9;
}

const rows: (string | number)[][] = [["threads", "pairs/s stored", "pairs/s in memory", "GFLOP/s", "of matmul's"]];
for (const threads of values.threads.split(",").map(Number)) {
  await using engine = await open({ backend: "wasm", threads });
  await kernel(engine, arch, dataset.select([{ start: 0, end: Math.min(64, images) }]));
  const stored: number[] = [];
  const memory: number[] = [];
  const product: number[] = [];
  for (let round = 0; round < rounds; round++) {
    stored.push(await inStore(engine));
    memory.push(await inMemory(engine));
    product.push(await matmulRate(engine));
  }
  const gflops = (median(memory) * OPERATIONS) / 1e9;
  rows.push([
    threads,
    Math.round(median(stored)),
    Math.round(median(memory)),
    gflops.toFixed(1),
    `${((100 * gflops) / median(product)).toFixed(0)} %`,
  ]);
}
console.log(table(rows));
