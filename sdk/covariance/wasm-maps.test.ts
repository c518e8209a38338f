/** Maps in the workspace and in the scratch: the same bits, and memory that is counted exactly enough. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freshSeed } from "../../test/seed.ts";
import { upload, openWasm } from "../../test/wasm.ts";
import { compile, conv, dense, erf, flatten, identity, relu, repeat, serial, step, sum } from "../arch/arch.ts";
import type { Backend, Slot } from "../engine/backend.ts";
import { testImages, testPrograms } from "../engine/conformance/programs.ts";
import { referenceCovariance } from "../engine/conformance/reference.ts";
import { covarianceF64, varianceF64 } from "../engine/kernels/covariance-f64.ts";
import { covariance, NO_DIAGONAL, variance, wasmTableFloats, type Workspace } from "../engine/kernels/covariance.ts";
import { RandomStream } from "../engine/rng.ts";
import { encodeProgram } from "./encode.ts";
import type { Program } from "./program.ts";
import { programShape } from "./shape.ts";
import { wasmWorkspace } from "./wasm-maps.ts";

const seed = freshSeed();
const THREADS = 2;
let backend: Backend;
beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: THREADS });
});
afterAll(() => backend.close());

const GUARD = 0x5a;

/** Variances and covariances of some images; the workspace ends with a guard that nobody may touch. */
async function run(program: Program, precision: "f32" | "f64", images: Float32Array, maps: Workspace) {
  const count = images.length / program.imageFloats;
  const bytes = precision === "f64" ? 8 : 4;
  const { imageFloats, tablePixels } = program;
  const tableBytes =
    precision === "f64"
      ? 8 * count * (imageFloats + tablePixels)
      : 4 * wasmTableFloats(count, imageFloats, tablePixels);
  const slots = {
    program: upload(backend, encodeProgram(program)),
    images: upload(backend, precision === "f64" ? Float64Array.from(images) : images),
    table: backend.allocate(tableBytes, "table"),
    variances: backend.allocate(bytes * count, "variances"),
    output: backend.allocate(bytes * count * count, "output"),
    workspace: upload(backend, new Uint8Array(maps.bytes + 64).fill(GUARD)),
  };
  const { slices, sliceFloats } = maps;
  const shape = { ...programShape(program), slices, sliceFloats };
  const pairs = { ...shape, rows: count, columns: count, diagonal: NO_DIAGONAL, lower: 0 };
  const first: Slot[] = [slots.program, slots.images, slots.table, slots.variances, slots.workspace];
  const second: Slot[] = [slots.program, slots.table, slots.table, slots.variances, slots.output, slots.workspace];
  if (precision === "f64") {
    backend.dispatch(varianceF64, { ...shape, images: count }, first);
    backend.dispatch(covarianceF64, pairs, second);
  } else {
    backend.dispatch(variance, { ...shape, images: count }, first);
    backend.dispatch(covariance, pairs, second);
  }
  const variances = await backend.read(slots.variances, 0, bytes * count);
  const output = await backend.read(slots.output, 0, bytes * count * count);
  const guard = new Uint8Array(await backend.read(slots.workspace, maps.bytes, 64));
  for (const slot of Object.values(slots)) backend.free(slot);
  const numbers = (buffer: ArrayBuffer) => (precision === "f64" ? new Float64Array(buffer) : new Float32Array(buffer));
  return { variances: numbers(variances), output: numbers(output), guard };
}

describe("maps in the workspace", () => {
  for (const precision of ["f32", "f64"] as const) {
    it(`give the bits of maps in the scratch, in ${precision}, and stay in their slices`, async () => {
      const random = new RandomStream(seed, "workspace");
      for (const test of testPrograms()) {
        const images = testImages(test, random, 6);
        const inScratch = wasmWorkspace(test.program, precision, THREADS);
        expect(inScratch, test.name).toEqual({ slices: 0, sliceFloats: 0, bytes: 0 });
        const fast = await run(test.program, precision, images, inScratch);
        const large = await run(test.program, precision, images, wasmWorkspace(test.program, precision, THREADS, true));
        expect(large.output, test.name).toEqual(fast.output);
        expect(large.variances, test.name).toEqual(fast.variances);
        expect(new Set(large.guard), test.name).toEqual(new Set([GUARD]));
      }
    });
  }
});

describe("programs whose plans no scratch holds", () => {
  it("10,600 steps agree with the reference in both precisions", async () => {
    const layer = serial(conv({ filter: 3, weightVariance: 0.5, biasVariance: 0.3 }), relu());
    const program = compile(serial(repeat(5300, layer), flatten()), [1, 4, 4]);
    const images = new Float32Array(32).map((_, at) => Math.sin(at));
    const expected = referenceCovariance(program, images.subarray(0, 16), images.subarray(16));
    for (const [precision, tolerance] of [
      ["f32", 1e-6],
      ["f64", 1e-12],
    ] as const) {
      const { output, guard } = await run(program, precision, images, wasmWorkspace(program, precision, THREADS));
      expect(Math.abs((output[1] ?? NaN) / expected - 1)).toBeLessThan(tolerance);
      expect(new Set(guard)).toEqual(new Set([GUARD]));
    }
  });
});

describe("images that no scratch holds", () => {
  const shape = [1, 600, 500] as const;
  const arch = serial(
    conv({ filter: 3, biasVariance: 0.1 }),
    relu(),
    repeat(2, sum(identity(), serial(conv({ filter: 3, stride: 1 }), relu()))),
    conv({ filter: 5, stride: 4 }),
    erf(),
    conv({ filter: 3 }),
    step(),
    flatten(),
    dense(),
  );

  it("600 x 500 pixels with residual branches agree with the reference in both precisions", async () => {
    const program = compile(arch, shape);
    const random = new RandomStream(seed, "large images");
    const images = new Float32Array(2 * program.imageFloats).map(() => random.uniform32());
    const [x, y] = [images.subarray(0, program.imageFloats), images.subarray(program.imageFloats)];
    const expected = referenceCovariance(program, x, y);
    for (const [precision, tolerance] of [
      ["f32", 1e-6],
      ["f64", 1e-12],
    ] as const) {
      const maps = wasmWorkspace(program, precision, THREADS);
      expect(maps.slices).toBe(THREADS);
      const { output } = await run(program, precision, images, maps);
      expect(Math.abs((output[1] ?? NaN) / expected - 1)).toBeLessThan(tolerance);
      expect(output[2]).toBe(output[1]);
    }
  });
});
