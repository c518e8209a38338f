/**
 * The symmetric eigenproblem on wasm: seconds for all pairs, for the values alone and for ten pairs, and how far
 * A V = V L and V'V = I are missed (largest entries, over a sample of columns).
 *
 *     npm run bench -- eigh [--threads t] [--repeats r] [n ...]
 */
import { parseArgs } from "node:util";
import { eigh } from "../sdk/linalg/eigh.ts";
import { open } from "../sdk/index.node.ts";

const CHECKED = 16;

/** Entries uniform in [-1, 1). */
function randomSymmetric(n: number): Float64Array {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = Math.random() * 2 - 1;
  return a;
}

function misses(a: Float64Array, n: number, values: Float64Array, v: Float64Array): readonly [number, number] {
  let [residual, overlap] = [0, 0];
  for (let count = 0; count < CHECKED; count++) {
    const column = Math.floor(Math.random() * n);
    const x = Float64Array.from({ length: n }, (_, i) => v[i * n + column] ?? NaN);
    const dots = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let sum = -(values[column] ?? NaN) * (x[i] ?? NaN);
      for (let j = 0; j < n; j++) {
        sum += (a[i * n + j] ?? NaN) * (x[j] ?? NaN);
        dots[j] = (dots[j] ?? NaN) + (x[i] ?? NaN) * (v[i * n + j] ?? NaN);
      }
      residual = Math.max(residual, Math.abs(sum));
    }
    dots[column] = (dots[column] ?? NaN) - 1;
    for (const dot of dots) overlap = Math.max(overlap, Math.abs(dot));
  }
  return [residual, overlap];
}

const median = (times: readonly number[]): number => [...times].sort((x, y) => x - y)[times.length >> 1] ?? NaN;

const options = { threads: { type: "string" }, repeats: { type: "string", default: "3" } } as const;
const { values: given, positionals } = parseArgs({ options, allowPositionals: true });
const sizes = positionals.length > 0 ? positionals.map(Number) : [256, 784, 1536];
await using engine = await open({
  backend: "wasm",
  threads: given.threads === undefined ? undefined : Number(given.threads),
});
console.log(`${engine.info.adapter}, ${engine.info.threads} threads`);
const titles = ["n", "all s", "values s", "10 pairs s", "residual", "overlap"];
console.log(titles.map((title) => title.padStart(12)).join(""));
for (const n of sizes) {
  const a = randomSymmetric(n);
  const largest = Math.min(10, n);
  const times: readonly [number[], number[], number[]] = [[], [], []];
  let miss: readonly [number, number] = [NaN, NaN];
  for (let repeat = 0; repeat < Number(given.repeats); repeat++) {
    for (const [index, choice] of [{}, { vectors: false }, { largest }].entries()) {
      const started = performance.now();
      const { values, vectors } = await eigh(engine, a, choice);
      times[index]?.push((performance.now() - started) / 1000);
      if (index === 0 && repeat === 0 && vectors !== undefined) miss = misses(a, n, values, vectors);
    }
  }
  const cells = [
    String(n),
    ...times.map((each) => median(each).toFixed(3)),
    ...miss.map((one) => one.toExponential(1)),
  ];
  console.log(cells.map((cell) => cell.padStart(12)).join(""));
}
