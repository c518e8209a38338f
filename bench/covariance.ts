/**
 * Kernels of the presets on wasm: pairs per second by threads, in memory and from images to a finished store on disk
 * (tables, tiles, checksums, fsync); medians.
 *
 *     npm run bench -- covariance [--presets convnet-gp,resnet32-gp] [--images 512] [--threads 1,2] [--rounds 5]
 *
 * "per CPU second" divides by the time that the threads got, and so tells little of what else runs on the machine. Of
 * the SIMD peak: the program's operations (`sdk/covariance/cost.ts`) a second, against what a loop of nothing but
 * multiply-adds reaches on the same threads right after (`sdk/engine/peak.ts`). A program is made of about 17 operations
 * for a relu, one of them a square root that takes the time of several, and loads and stores that count nothing.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compile, digits, fromArrays, kernel, nodeFiles, open, preset, presetNames } from "../sdk/index.node.ts";
import type { Dataset, Engine } from "../sdk/index.node.ts";
import { presetEntry } from "../sdk/arch/presets.ts";
import { programCost } from "../sdk/covariance/cost.ts";
import { measurePeak } from "../sdk/engine/peak.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
import { nngp } from "../sdk/arch/kernel-spec.ts";
import { storeKernel } from "../sdk/experiments/stored-kernel.ts";
import { table } from "../cli/format.ts";

const { values } = parseArgs({
  options: {
    presets: { type: "string", default: presetNames.join(",") },
    images: { type: "string", default: "512" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: [...new Set([1, availableParallelism()])].join(",") },
  },
});
const images = Number(values.images);
const rounds = Number(values.rounds);
const range = [{ start: 0, end: images }];
const pairs = (images * (images + 1)) / 2;

/** Digits for networks that take them, noise for others: no step looks at what it multiplies. */
function imagesFor(name: string): Dataset {
  const [channels = 1, height = 1, width = 1] = presetEntry(name).input;
  if (channels === 1 && height === 28 && width === 28) return digits({ trainCount: images, testCount: 1 });
  const random = new RandomStream(0, "benchmark");
  const pixels = new Float32Array(images * channels * height * width).map(() => random.uniform32());
  return fromArrays({ shape: { channels, height, width }, images: pixels, labels: new Uint8Array(images) });
}

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}

interface Rate {
  readonly perSecond: number;
  readonly perCpuSecond: number;
}

async function rateOf(work: () => Promise<unknown>): Promise<Rate> {
  const begun = performance.now();
  const cpuBegun = process.cpuUsage();
  await work();
  const cpuSeconds = process.cpuUsage(cpuBegun).user / 1e6;
  return { perSecond: (1000 * pairs) / (performance.now() - begun), perCpuSecond: pairs / cpuSeconds };
}

async function inStore(engine: Engine, name: string, dataset: Dataset): Promise<Rate> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-bench-"));
  const files = await nodeFiles();
  const path = join(folder, "k.zarr");
  const rate = await rateOf(() =>
    storeKernel({ engine, dataset, kernel: nngp(preset(name)), rows: range, files, path }),
  );
  await rm(folder, { recursive: true });
  return rate;
}

const rows: (string | number)[][] = [
  ["preset", "threads", "pairs/s stored", "pairs/s", "per CPU second", "operations", "GFLOP/CPU s", "of SIMD peak"],
];
for (const name of values.presets.split(",")) {
  const arch = preset(name);
  const dataset = imagesFor(name);
  const selection = dataset.select(range);
  const { operations } = programCost(compile(arch, presetEntry(name).input));
  for (const threads of values.threads.split(",").map(Number)) {
    await using engine = await open({ backend: "wasm", threads });
    await kernel(engine, arch, dataset.select([{ start: 0, end: Math.min(64, images) }]));
    const stored: number[] = [];
    const memory: number[] = [];
    const cpu: number[] = [];
    const shares: number[] = [];
    for (let round = 0; round < rounds; round++) {
      stored.push((await inStore(engine, name, dataset)).perSecond);
      const { perSecond, perCpuSecond } = await rateOf(() => kernel(engine, arch, selection));
      memory.push(perSecond);
      cpu.push(perCpuSecond);
      shares.push((perSecond * operations) / (await measurePeak(engine.backend, "f32")));
    }
    const counts = [stored, memory, cpu].map((rates) => Math.round(median(rates)).toLocaleString("en"));
    const gflops = ((median(cpu) * operations) / 1e9).toFixed(1);
    const share = `${(100 * median(shares)).toFixed(0)} %`;
    rows.push([name, threads, ...counts, operations.toLocaleString("en"), gflops, share]);
  }
}
console.log(table(rows));
