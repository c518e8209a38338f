/**
 * Fully connected kernels on wasm: the NTK of four dense layers with relus on 28 x 28 images, as one matmul and the
 * recursion on tiles, and how far each is from what bounds it. The fastest of fifteen runs: other work only adds to them.
 *
 *     npm run bench -- gram [threads ...]
 *
 * The recursion is timed with a copy of the products before it, which it overwrites, less the copy. Its bounds: a tile's
 * entries are read and written once (against that copy), and its additions, products and roots, four to an instruction
 * (against the multiply-and-add rate of independent chains).
 */
import { compile, dense, relu, serial } from "../sdk/arch/arch.ts";
import { specTiles } from "../sdk/arch/spec-tiles.ts";
import { imageTable } from "../sdk/covariance/recursion-images.ts";
import { encodeRecursion, NEAR, recursionOf } from "../sdk/covariance/recursion.ts";
import type { Backend, Slot } from "../sdk/engine/backend.ts";
import { elementwise, ElementwiseOperation } from "../sdk/engine/kernels/elementwise.ts";
import { matmul } from "../sdk/engine/kernels/matmul.ts";
import { recursion, Wanted } from "../sdk/engine/kernels/recursion.ts";
import { measurePeak } from "../sdk/engine/peak.ts";
import { digits, open } from "../sdk/index.node.ts";

const REPEATS = 15;
const SIDE = 1024;
const DEPTH = 4;
const FLOATS = 784;
/**
 * Of a pair: the input 5; of a relu 33 with its theta (n, rr, the near side, the root, two polynomials of degree 5, the
 * three products); of a dense layer behind one 7.
 */
const OPERATIONS = 5 + (DEPTH - 1) * 33 + DEPTH * 7;

const arch = serial(
  ...Array.from({ length: DEPTH }, (_, layer) => (layer === 0 ? [dense()] : [relu(), dense()])).flat(),
);
const images = Float64Array.from(digits({ seed: 0 }).select(`0:${SIDE}`).images);
const program = recursionOf(compile(arch, [FLOATS], { ntk: true, parametrisation: "ntk" }));
if (program === undefined) throw new Error("a fully connected network has a recursion");

/** Seconds of the fastest run. */
async function timed(backend: Backend, run: () => void): Promise<number> {
  const seconds: number[] = [];
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const started = performance.now();
    run();
    await backend.finish();
    if (repeat > 0) seconds.push((performance.now() - started) / 1000);
  }
  return Math.min(...seconds);
}

const requested = process.argv.slice(2).map(Number);
for (const threads of requested.length > 0 ? requested : [1, 2]) {
  await using engine = await open({ backend: "wasm", threads });
  const { backend } = engine;
  const upload = (data: ArrayBufferView): Slot => {
    const slot = backend.allocate(data.byteLength, "bench");
    backend.write(slot, 0, data);
    return slot;
  };
  const { points, table } = imageTable(program, images, SIDE, FLOATS);
  const words = upload(encodeRecursion(program));
  const [point, tables] = [upload(Float32Array.from(points)), upload(Float32Array.from(table))];
  const [tile, products] = [backend.allocate(4 * SIDE * SIDE, "tile"), backend.allocate(4 * SIDE * SIDE, "products")];
  const product = { m: SIDE, n: SIDE, k: FLOATS, transposeA: 0, transposeB: 1, alpha: 1, beta: 0 };
  const sizes = {
    rows: SIDE,
    columns: SIDE,
    floats: FLOATS,
    steps: program.steps.length,
    slots: program.slots,
    angle: 1,
  };
  const params = { ...sizes, wanted: Wanted.ntk, near: NEAR[program.metric] };
  const multiply = (): void => backend.dispatch(matmul, product, [point, point, products]);
  const copied = { count: SIDE * SIDE, operation: ElementwiseOperation.affine, alpha: 1, beta: 0 };

  const pairs = SIDE * SIDE;
  const alone = await timed(backend, multiply);
  const copies = (): void => backend.dispatch(elementwise, copied, [products, products, tile]);
  const copy = await timed(backend, copies);
  const both = await timed(backend, () => {
    copies();
    backend.dispatch(recursion, params, [words, tables, tables, point, point, tile]);
  });
  const peak = await measurePeak(backend, "f32");
  const set = { images: Float32Array.from(images), shape: [FLOATS] } as const;
  const { tiles } = await specTiles(engine, { name: "arch", arch, kind: "ntk" }, set, set, "f32");
  const wholes: number[] = [];
  for (let repeat = 0; repeat < 6; repeat++) {
    const started = performance.now();
    await tiles.compute(0, SIDE, 0, SIDE, false);
    wholes.push((performance.now() - started) / 1000);
  }
  const whole = Math.min(...wholes);
  tiles.dispose();

  const steps = both - copy;
  const flops = 2 * pairs * FLOATS;
  const million = (seconds: number): string => `${(pairs / seconds / 1e6).toFixed(1)} million pairs/s`;
  const share = (bound: number, seconds: number): string => `${((100 * bound) / seconds).toFixed(0)} %`;
  console.log(`\n${engine.info.adapter}, ${threads} threads, NTK of depth ${DEPTH}, ${SIDE} x ${SIDE} pairs`);
  console.log(`  tiles with all there is to it  ${million(whole)}`);
  console.log(`  20,000 x 20,000, symmetric     ${((20000 * 20001 * whole) / 2 / pairs).toFixed(1)} s`);
  console.log(`  matmul                         ${million(alone)}, ${(flops / alone / 1e9).toFixed(1)} GFLOP/s`);
  console.log(`    of the multiply-add peak     ${share(flops / peak, alone)}`);
  console.log(`  recursion                      ${million(steps)}, ${share(steps, alone + steps)} of both`);
  console.log(`    of the bandwidth bound       ${share(copy, steps)} (${((8 * pairs) / copy / 1e9).toFixed(1)} GB/s)`);
  const operations = (OPERATIONS * pairs) / peak;
  console.log(`    of the arithmetic bound      ${share(operations, steps)} (${OPERATIONS} operations a pair)`);
}
