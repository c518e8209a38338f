/**
 * The float64 Cholesky factorisation and its solves on wasm: GFLOP/s, medians of three, and the memory of the factor
 * over the triangle's.
 *
 *     npm run bench -- cholesky [--threads t] [n ...]
 */
import { parseArgs } from "node:util";
import { open } from "../sdk/index.node.ts";
import { cholesky } from "../sdk/linalg/cholesky.ts";
import type { SymmetricSource } from "../sdk/linalg/source.ts";

const REPEATS = 3;
/** Right-hand sides of the solves: the classes of a digit set, and a batch of test points. */
const RHS = [10, 512] as const;

/** exp(-|i - j| / 1000) + 0.1 I, in float32 as a kernel store holds it. */
function exponentialKernel(n: number): SymmetricSource {
  const byDistance = new Float32Array(n).map((_, distance) => Math.exp(-distance / 1000));
  byDistance[0] = 1.1;
  return {
    n,
    block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const block = new Float32Array((rowEnd - rowBegin) * (columnEnd - columnBegin));
      let at = 0;
      for (let i = rowBegin; i < rowEnd; i++)
        for (let j = columnBegin; j < columnEnd; j++) block[at++] = byDistance[Math.abs(i - j)] ?? 0;
      return block;
    },
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

const { values, positionals } = parseArgs({ options: { threads: { type: "string" } }, allowPositionals: true });
const sizes = positionals.length > 0 ? positionals.map(Number) : [512, 1024, 2048, 4096];
await using engine = await open({
  backend: "wasm",
  threads: values.threads === undefined ? undefined : Number(values.threads),
});
const backend = await engine.cpu();
console.log(`${engine.info.adapter}, ${engine.info.threads} threads`);
console.log(
  ["n", "factor s", "GFLOP/s", "total s", "memory", ...RHS.map((m) => `solve ${m}`)]
    .map((title) => title.padStart(10))
    .join(""),
);
for (const n of sizes) {
  const rates: number[] = [];
  const totals: number[] = [];
  const solves = RHS.map((): number[] => []);
  let memory = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const started = performance.now();
    using factor = await cholesky(engine, exponentialKernel(n));
    totals.push((performance.now() - started) / 1000);
    rates.push(factor.gflops);
    memory = backend.stats().bytes / ((n * (n + 1) * 8) / 2);
    for (const [index, m] of RHS.entries()) {
      const rhs = new Float64Array(n * m).map(Math.random);
      const begun = performance.now();
      await factor.solve(rhs);
      solves[index]?.push((2 * n * n * m) / (performance.now() - begun) / 1e6);
    }
  }
  const rate = median(rates);
  const cells = [
    String(n),
    (n ** 3 / 3 / rate / 1e9).toFixed(3),
    rate.toFixed(1),
    median(totals).toFixed(3),
    memory.toFixed(3),
    ...solves.map((each) => median(each).toFixed(1)),
  ];
  console.log(cells.map((cell) => cell.padStart(10)).join(""));
}
