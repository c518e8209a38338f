/**
 * Full programs on wasm: pairs per second, GFLOP/s and the share of the SIMD peak, for the plain and the relaxed build.
 *
 *     npm run bench -- full-covariance [--images 8] [--threads 2] [--rounds 5] [--programs myrtle5,..] [--signed]
 *
 * A program's operations are those of `sdk/covariance/cost.ts`: sums, products and roots, counted at the head of
 * `assembly/fullCovariance.ts`. The peak is what a loop of nothing but multiply-adds (products and sums in the plain
 * build) reaches on the same threads right after each sample (`sdk/engine/peak.ts`). "per CPU second" divides by the time
 * that the threads got, and so tells little of what else runs on the machine; medians over rounds.
 */
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { availableParallelism } from "node:os";
import { avgPool, compile, conv, dense, flatten, relu, serial, type Arch } from "../sdk/arch/arch.ts";
import { preset } from "../sdk/arch/presets.ts";
import { programCost } from "../sdk/covariance/cost.ts";
import { encodeFull } from "../sdk/covariance/encode-full.ts";
import { fullWasmWorkspace } from "../sdk/covariance/full-memory.ts";
import { fullShape } from "../sdk/covariance/full-shape.ts";
import type { Backend } from "../sdk/engine/backend.ts";
import { NO_DIAGONAL, wasmTableFloats } from "../sdk/engine/kernels/covariance.ts";
import { fullCovariance, fullVariance, NNGP, NTK } from "../sdk/engine/kernels/full-covariance.ts";
import { measurePeak } from "../sdk/engine/peak.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
import { WasmBackend } from "../sdk/engine/wasm/backend.ts";
import { nodePlatform } from "../sdk/platform/node.ts";
import { installPlatform } from "../sdk/platform/platform.ts";
import { table } from "../cli/format.ts";

const block = [conv({ filter: 3 }), relu()];

const PROGRAMS: Readonly<Record<string, { readonly arch: Arch; readonly ntk: boolean }>> = {
  myrtle5: { arch: preset("myrtle5"), ntk: true },
  "myrtle5, flatten after two pools": {
    arch: serial(
      ...[...block, ...block, avgPool({ window: 2 }), ...block, avgPool({ window: 2 }), ...block],
      flatten(),
      dense(),
    ),
    ntk: true,
  },
  "myrtle5, NNGP": { arch: preset("myrtle5"), ntk: false },
  "cntk-gap-4": { arch: preset("cntk-gap-4"), ntk: true },
};

const { values } = parseArgs({
  options: {
    images: { type: "string", default: "8" },
    threads: { type: "string", default: String(availableParallelism()) },
    rounds: { type: "string", default: "5" },
    programs: { type: "string", default: Object.keys(PROGRAMS).join(";") },
    signed: { type: "boolean", default: false },
  },
});
const images = Number(values.images);
const threads = Number(values.threads);
/** Seconds of a sample, about. */
const SAMPLE = 0.3;

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}

/** What runs all pairs of the images once, and what it is given. */
async function prepare(backend: Backend, { arch, ntk }: { arch: Arch; ntk: boolean }) {
  const program = compile(arch, [3, 32, 32], { ntk, parametrisation: "ntk" });
  const encoded = encodeFull(program);
  const maps = fullWasmWorkspace(fullShape(program, encoded), threads);
  const kinds = ntk ? NTK : NNGP;
  const shape = { ...fullShape(program, encoded), kinds, slices: maps.slices, sliceFloats: maps.sliceFloats };
  const random = new RandomStream(0, "benchmark");
  const pixels = new Float32Array(images * program.imageFloats).map(
    () => random.uniform32() - (values.signed ? 0.5 : 0),
  );
  const slots = [
    encoded.words.byteLength,
    pixels.byteLength,
    4 * wasmTableFloats(images, program.imageFloats, program.tablePixels),
    4 * images,
    4 * images * images,
    maps.bytes,
  ].map((bytes) => backend.allocate(Math.max(bytes, 4), "benchmark"));
  const slot = (index: number) => {
    const found = slots[index];
    if (found === undefined) throw new Error(`no slot ${index}`);
    return found;
  };
  const [words, x, tables, variances, output, workspace] = [slot(0), slot(1), slot(2), slot(3), slot(4), slot(5)];
  backend.write(words, 0, encoded.words);
  backend.write(x, 0, pixels);
  backend.dispatch(fullVariance, { ...shape, images }, [words, x, tables, variances, workspace]);
  await backend.finish();
  const tile = { ...shape, rows: images, columns: images, diagonal: NO_DIAGONAL, lower: 0 };
  return {
    program,
    run: async (times: number): Promise<void> => {
      for (let time = 0; time < times; time++)
        backend.dispatch(fullCovariance, tile, [words, tables, tables, variances, output, workspace]);
      await backend.finish();
    },
    free: (): void => {
      for (const each of slots) backend.free(each);
    },
  };
}

setFlagsFromString("--experimental-wasm-relaxed-simd");
installPlatform(nodePlatform);
const rows: (string | number)[][] = [
  ["program", "build", "pairs/s", "per CPU second", "MFLOP a pair", "GFLOP/s", "GFLOP/CPU s", "peak", "of peak"],
];
for (const variant of ["threads", "relaxed"] as const) {
  const backend = await WasmBackend.open(nodePlatform, { variant, threads, memoryBytes: 2 ** 30 });
  for (const name of values.programs.split(";")) {
    const chosen = PROGRAMS[name];
    if (chosen === undefined) throw new Error(`programs are ${Object.keys(PROGRAMS).join("; ")}`);
    const { program, run, free } = await prepare(backend, chosen);
    const { operations } = programCost(program);
    const pairs = images * images;
    const begun = performance.now();
    await run(1);
    const times = Math.max(1, Math.round((1000 * SAMPLE) / (performance.now() - begun)));
    const rates: number[] = [];
    const cpuRates: number[] = [];
    const peaks: number[] = [];
    const shares: number[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      const started = performance.now();
      const cpuStarted = process.cpuUsage();
      await run(times);
      const seconds = (performance.now() - started) / 1000;
      const cpuSeconds = process.cpuUsage(cpuStarted).user / 1e6;
      const peak = await measurePeak(backend, "f32", 3);
      rates.push((times * pairs) / seconds);
      cpuRates.push((times * pairs) / cpuSeconds);
      peaks.push(peak);
      shares.push((times * pairs * operations) / seconds / peak);
    }
    free();
    rows.push([
      ...[name, variant === "threads" ? "plain" : "relaxed"],
      ...[median(rates), median(cpuRates)].map((rate) => Math.round(rate).toLocaleString("en")),
      (operations / 1e6).toFixed(1),
      ...[median(rates), median(cpuRates)].map((rate) => ((rate * operations) / 1e9).toFixed(1)),
      (median(peaks) / 1e9).toFixed(1),
      `${(100 * median(shares)).toFixed(0)} %`,
    ]);
  }
  await backend.close();
}
console.log(table(rows));
