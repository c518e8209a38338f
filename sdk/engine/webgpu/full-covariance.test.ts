/** Full covariance programs on a GPU beside the same in float64 on wasm: maps in workgroup memory and larger ones. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mulberry32 } from "../../../test/reference/programs.ts";
import { freshSeed } from "../../../test/seed.ts";
import { openWasm } from "../../../test/wasm.ts";
import { avgPool, compile, conv, dense, flatten, relu, serial, type Arch } from "../../arch/arch.ts";
import type { Shape } from "../../arch/layer.ts";
import { encodeFull } from "../../covariance/encode-full.ts";
import { fullTableF64, fullWasmWorkspaceF64 } from "../../covariance/full-memory-f64.ts";
import { fullShape } from "../../covariance/full-shape.ts";
import type { Program } from "../../covariance/program.ts";
import type { Backend, Slot } from "../backend.ts";
import { NO_DIAGONAL, tableFloats } from "../kernels/covariance.ts";
import { fullCovarianceF64, fullVarianceF64 } from "../kernels/full-covariance-f64.ts";
import { fullCovariance, fullVariance, NNGP, NTK } from "../kernels/full-covariance.ts";
import { fullWebgpuWorkspace, spillsCells, workgroupCells } from "../kernels/full-workspace.ts";
import type { WebGpuBackend } from "./backend.ts";
import { openForTests } from "./testing.ts";

let gpu: WebGpuBackend;
let wasm: Backend;
beforeAll(async () => {
  gpu = await openForTests();
  wasm = await openWasm({ variant: "threads", threads: 2 });
});
afterAll(async () => {
  expect([gpu.stats().slots, wasm.stats().slots]).toEqual([0, 0]);
  await gpu.close();
  await wasm.close();
});

const random = mulberry32(freshSeed());

function ntkOf(arch: Arch, shape: Shape): Program {
  return compile(arch, shape, { ntk: true, parametrisation: "ntk" });
}

function images(program: Program, count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count * program.imageFloats }, () => random());
}

/** NNGP and NTK between two sets of images: [2, rows, columns], in float64 on wasm, in float32 on the GPU. */
async function kernels(
  backend: Backend,
  program: Program,
  x: Float32Array<ArrayBuffer>,
  y: Float32Array<ArrayBuffer>,
): Promise<number[]> {
  const double = backend.info.backend === "wasm";
  const bytes = double ? 8 : 4;
  const encoded = encodeFull(program);
  const shape = fullShape(program, encoded);
  const workspace = double
    ? fullWasmWorkspaceF64(shape, backend.info.threads)
    : fullWebgpuWorkspace(backend.info, shape, 2 ** 26);
  const { slices, sliceFloats } = workspace;
  const params = { ...shape, kinds: NNGP + NTK, slices, sliceFloats };
  const slots: Slot[] = [];
  const slot = (contents: ArrayBufferView | number): Slot => {
    const size = typeof contents === "number" ? contents : contents.byteLength;
    const made = backend.allocate(size, "test");
    slots.push(made);
    if (typeof contents !== "number") backend.write(made, 0, contents);
    return made;
  };
  const [words, space] = [slot(encoded.words), slot(workspace.bytes)];
  const table = (set: Float32Array): { count: number; table: Slot; variances: Slot } => {
    const count = set.length / program.imageFloats;
    const floats = double
      ? fullTableF64(count, shape)
      : tableFloats("webgpu", count, shape.imageFloats, shape.tablePixels);
    const made = { count, table: slot(bytes * floats), variances: slot(bytes * 2 * count) };
    const pixels = slot(double ? Float64Array.from(set) : set);
    const kernel = double ? fullVarianceF64 : fullVariance;
    backend.dispatch(kernel, { ...params, images: count }, [words, pixels, made.table, made.variances, space]);
    return made;
  };
  const [rows, columns] = [table(x), table(y)];
  const output = slot(bytes * 2 * rows.count * columns.count);
  const tile = { ...params, rows: rows.count, columns: columns.count, diagonal: NO_DIAGONAL, lower: 0 };
  const buffers = [words, rows.table, columns.table, rows.variances, output, space];
  backend.dispatch(double ? fullCovarianceF64 : fullCovariance, tile, buffers);
  const result = await backend.read(output, 0, bytes * 2 * rows.count * columns.count);
  for (const made of slots) backend.free(made);
  return [...(double ? new Float64Array(result) : new Float32Array(result))];
}

function worstRelative(actual: readonly number[], expected: readonly number[]): number {
  return Math.max(...expected.map((truth, at) => Math.abs((actual[at] ?? NaN) / truth - 1)));
}

const bias = { weightVariance: 1.5, biasVariance: 0.1 };
const small = serial(
  conv({ filter: 3, ...bias }),
  relu(),
  avgPool({ window: 2 }),
  conv({ filter: 3 }),
  relu(),
  flatten(),
  dense(),
);

describe("full programs on a GPU", () => {
  it("agree with float64 where maps do not fit in workgroup memory", async () => {
    const program = ntkOf(small, [2, 61, 70]);
    expect(spillsCells(fullShape(program), gpu.info.workgroupBytes)).toBe(true);
    const [x, y] = [images(program, 1), images(program, 2)];
    expect(worstRelative(await kernels(gpu, program, x, y), await kernels(wasm, program, x, y))).toBeLessThan(1e-6);
  });

  it("give the same bits in any tile, and in both orders", async () => {
    const program = ntkOf(small, [2, 7, 6]);
    const [x, y] = [images(program, 3), images(program, 3)];
    const whole = await kernels(gpu, program, x, y);
    const one = (set: Float32Array<ArrayBuffer>, index: number): Float32Array<ArrayBuffer> =>
      set.slice(index * program.imageFloats, (index + 1) * program.imageFloats);
    expect(await kernels(gpu, program, one(x, 2), one(y, 1))).toEqual([whole[2 * 3 + 1], whole[9 + 2 * 3 + 1]]);
    const swapped = await kernels(gpu, program, y, x);
    for (let at = 0; at < 18; at++) {
      const [which, i, j] = [Math.floor(at / 9), Math.floor(at / 3) % 3, at % 3];
      expect(swapped[9 * which + 3 * j + i]).toBe(whole[at]);
    }
  });

  it("refuse a program whose slices fit in no buffer", () => {
    const shape = fullShape(ntkOf(small, [2, 61, 70]));
    expect(fullWebgpuWorkspace({ ...gpu.info, maxBufferBytes: 2 ** 10 }, shape, 2 ** 30).slices).toBe(0);
    const params = { ...shape, kinds: NNGP, slices: 0, sliceFloats: 0, images: 1 };
    expect(() => fullVariance.geometry?.(params, { invocations: 256, preferred: 128, storageBytes: 32768 })).toThrow(
      /do not fit this GPU: use the wasm backend/,
    );
  });
});

describe("their memory on a large GPU", () => {
  const info = { backend: "webgpu", adapter: "large", software: false, threads: 1, features: [] } as const;
  const large = { ...info, maxBufferBytes: 2 ** 31, workgroupBytes: 32768 };

  it("holds eight pairs a multiprocessor of myrtle5 on 32 x 32 pixels, with less than 20 KiB of workgroup memory each", () => {
    const layer = [conv({ filter: 3 }), relu()];
    const half = avgPool({ window: 2 });
    const myrtle5 = serial(...layer, ...layer, half, ...layer, half, ...layer, half, half, half, flatten(), dense());
    const shape = fullShape(ntkOf(myrtle5, [3, 32, 32]));
    expect(spillsCells(shape, large.workgroupBytes)).toBe(false);
    expect(8 * workgroupCells(shape, large.workgroupBytes)).toBeLessThanOrEqual(20 * 1024);
    const { slices, bytes } = fullWebgpuWorkspace(large, shape, 2 ** 34);
    expect(slices).toBe(8 * 132);
    expect(bytes).toBeLessThanOrEqual(2 ** 30);
  });

  it("is at most a quarter of a job's, and one slice at least", () => {
    const shape = fullShape(ntkOf(small, [3, 32, 32]));
    for (const memory of [2 ** 20, 2 ** 24, 2 ** 28]) {
      const { slices, sliceFloats, bytes } = fullWebgpuWorkspace(large, shape, memory);
      expect(bytes).toBe(4 * slices * sliceFloats);
      expect(slices).toBeGreaterThanOrEqual(1);
      expect(bytes).toBeLessThanOrEqual(Math.max(memory / 4, 4 * sliceFloats));
    }
  });
});
