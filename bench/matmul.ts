/**
 * The float32 matrix product on wasm: GFLOP/s by size and transposes, medians of nine.
 *
 *     npm run bench -- matmul [threads ...]
 */
import type { Backend } from "../sdk/engine/backend.ts";
import { matmul } from "../sdk/engine/kernels/index.ts";
import { open } from "../sdk/index.node.ts";

const REPEATS = 9;
const SIZES: readonly (readonly [number, number, number])[] = [
  [256, 256, 256],
  [512, 512, 512],
  [1024, 1024, 1024],
  [2048, 2048, 2048],
  [100, 10, 784],
  [4096, 32, 288],
  [1000, 1, 1000],
];

async function gflops(backend: Backend, m: number, n: number, k: number, transposes: string): Promise<number> {
  const slots = [m * k, k * n, m * n].map((floats) => {
    const slot = backend.allocate(floats * 4, "bench");
    backend.write(slot, 0, new Float32Array(floats).map(Math.random));
    return slot;
  });
  const [transposeA, transposeB] = [transposes[0] === "T" ? 1 : 0, transposes[1] === "T" ? 1 : 0];
  const flops = 2 * m * n * k;
  // Enough products a sample that a fence and a message do not count.
  const each = Math.max(1, Math.round(5e8 / flops));
  const seconds: number[] = [];
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const started = performance.now();
    for (let product = 0; product < each; product++)
      backend.dispatch(matmul, { m, n, k, transposeA, transposeB, alpha: 1, beta: 0 }, slots);
    await backend.finish();
    if (repeat > 0) seconds.push((performance.now() - started) / 1000 / each);
  }
  for (const slot of slots) backend.free(slot);
  seconds.sort((a, b) => a - b);
  return flops / (seconds[REPEATS >> 1] ?? Number.NaN) / 1e9;
}

const requested = process.argv.slice(2).map(Number);
for (const threads of requested.length > 0 ? requested : [1, 2]) {
  await using engine = await open({ backend: "wasm", threads });
  const { backend } = engine;
  console.log(`\n${engine.info.adapter}, ${threads} threads: GFLOP/s`);
  console.log("     m     n     k" + ["NN", "TN", "NT", "TT"].map((name) => name.padStart(8)).join(""));
  for (const [m, n, k] of SIZES) {
    const cells = [m, n, k].map((size) => String(size).padStart(6));
    for (const transposes of ["NN", "TN", "NT", "TT"])
      cells.push((await gflops(backend, m, n, k, transposes)).toFixed(1).padStart(8));
    console.log(cells.join(""));
  }
}
