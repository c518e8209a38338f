/** What a kernel matrix's bits may depend on: its images and the backend, nothing else. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf as engineAround, gpuEngine, imageSet, wasmEngine } from "../../test/engines.ts";
import { referenceKernel } from "../../test/reference/arch.ts";
import { digitLike, mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import { conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { kernel, kernelDiagonal, type KernelOptions } from "../arch/kernel.ts";
import type { ImageSet } from "../arch/image-set.ts";
import type { Engine } from "../engine/engine.ts";
import type { WidefieldError } from "../errors.ts";
import { MemoryMatrix, transposed } from "./matrix.ts";

const shape = [1, 12, 11] as const;
const arch = serial(
  conv({ filter: 7, weightVariance: 100, biasVariance: 3 }),
  relu(),
  conv({ filter: [3, 4], stride: [1, 2], weightVariance: 2 }),
  relu({ sqrt2: true }),
  flatten(),
  dense({ weightVariance: 1.7, biasVariance: 0.3 }),
);
const F64 = { precision: "f64" } as const;

const random = mulberry32(freshSeed());
const pictures = Array.from({ length: 137 }, () => digitLike(random, 12, 11));
const X = imageSet(pictures, shape);

/** The images at some places of X, which may repeat. */
function pick(indices: readonly number[]): ImageSet {
  return imageSet(
    indices.map((index) => pictures[index] ?? new Float32Array()),
    shape,
  );
}

/** A kernel's bytes, to compare NaN and -0 too. */
async function bits(engine: Engine, set: ImageSet, options: KernelOptions = {}, other?: ImageSet): Promise<Buffer> {
  const { values } = await kernel(engine, arch, set, other, options);
  return Buffer.from(values.buffer);
}

/** Backends on which one matrix is asked for in many ways; values of the wasm builds are compared with each other. */
const backends = new Map<string, Engine>();
beforeAll(async () => {
  for (const configuration of wasmConfigurations)
    backends.set(`${configuration.variant} ${configuration.threads}`, await wasmEngine(configuration));
  backends.set("webgpu", await gpuEngine());
});
afterAll(async () => {
  for (const engine of backends.values()) await engine.close();
});
const engineOf = (name: string): Engine => {
  const engine = backends.get(name);
  if (engine === undefined) throw new Error(`no engine ${name}`);
  return engine;
};

describe("a kernel matrix, bit for bit", () => {
  const cases = [
    ["threads 2", {}],
    ["threads 2", F64],
    ["webgpu", {}],
  ] as const;
  for (const [name, precision] of cases) {
    const title = `on ${name} ${"precision" in precision ? "in float64" : ""}`;

    it(`is the same for every tile size, ${title}`, async () => {
      const expected = await bits(engineOf(name), X, { ...precision, tile: 256 });
      for (const tile of [1 + Math.floor(random() * 15), 16, 64, 100])
        expect((await bits(engineOf(name), X, { ...precision, tile })).equals(expected), `tile ${tile}`).toBe(true);
    });

    it(`is exactly symmetric, and has the variances on its diagonal, ${title}`, async () => {
      const { values, rows } = await kernel(engineOf(name), arch, X, undefined, { ...precision, tile: 48 });
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < i; j++) if (values[i * rows + j] !== values[j * rows + i]) expect.fail(`(${i}, ${j})`);
      const diagonal = await kernelDiagonal(engineOf(name), arch, X, { ...precision, tile: 29 });
      expect(Array.from(diagonal.keys(), (i) => values[i * rows + i])).toEqual([...diagonal]);
    });

    it(`K(X, Y) is the block of K(X) but for an image that meets itself, ${title}`, async () => {
      const n = pictures.length;
      const { values: whole } = await kernel(engineOf(name), arch, X, undefined, precision);
      const rows = Array.from({ length: 41 }, () => Math.floor(random() * n));
      const columns = Array.from({ length: 30 }, () => Math.floor(random() * n));
      const options = { ...precision, tile: 13 };
      const { values: part } = await kernel(engineOf(name), arch, pick(rows), pick(columns), options);
      rows.forEach((i, row) => {
        columns.forEach((j, column) => {
          const [actual, expected] = [part[row * columns.length + column] ?? NaN, whole[i * n + j] ?? NaN];
          if (i === j) expect(Math.abs(actual / expected - 1)).toBeLessThan("precision" in precision ? 1e-12 : 1e-6);
          else if (actual !== expected) expect.fail(`(${i}, ${j}): ${actual} instead of ${expected}`);
        });
      });
    });

    it(`K(Y, X) is the transpose of K(X, Y), ${title}`, async () => {
      const [few, many] = [pick([5, 17, 3, 3, 90]), pick(Array.from({ length: 50 }, (_, i) => i + 60))];
      const { values: a } = await kernel(engineOf(name), arch, few, many, precision);
      const { values: b } = await kernel(engineOf(name), arch, many, few, precision);
      for (let i = 0; i < 5; i++) for (let j = 0; j < 50; j++) expect(a[i * 50 + j]).toBe(b[j * 5 + i]);
    });
  }

  it("is the same on every plain build of the wasm backend, with one thread and with two", async () => {
    for (const precision of [{}, F64]) {
      const expected = await bits(engineOf("single 1"), X, precision);
      for (const name of ["threads 1", "threads 2"])
        expect((await bits(engineOf(name), X, precision)).equals(expected), name).toBe(true);
    }
  });

  it("is the same when asked for again, and after other kernels", async () => {
    for (const [name, engine] of backends) {
      const expected = await bits(engine, X);
      await kernel(engine, serial(flatten(), dense()), X);
      expect((await bits(engine, X)).equals(expected), name).toBe(true);
    }
  });
});

describe("images that stand in X twice", () => {
  it("have equal rows, and with each other the kernel of the image with itself, to float32's accuracy", async () => {
    const twice = pick([1, 2, 3, 2, 1, 1]);
    const expected = referenceKernel(
      arch.toJSON(),
      shape,
      [1, 2, 3, 2, 1, 1].map((i) => pictures[i] ?? []),
      [1, 2, 3, 2, 1, 1].map((i) => pictures[i] ?? []),
    );
    for (const [name, engine] of backends) {
      const { values } = await kernel(engine, arch, twice);
      expected.forEach((value, at) => expect(Math.abs((values[at] ?? NaN) / value - 1), name).toBeLessThan(1e-6));
      // Off the diagonal the same two images give the same bits, wherever they stand.
      expect(values[0 * 6 + 4], name).toBe(values[4 * 6 + 5]);
      expect(values[0 * 6 + 1], name).toBe(values[5 * 6 + 3]);
    }
  });
});

describe("what a kernel is asked of", () => {
  it("a pixel that is not finite is refused with its place, in X and in Y", async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const set = pick([0, 1, 2]);
      set.images[2 * 132 + 11 + 4] = bad;
      const message = new RegExp(`image 2, pixel 15 \\(channel 0, row 1, column 4\\) is ${bad}`);
      const engine = engineOf("threads 2");
      const refused = { code: "E_DATA", message: expect.stringMatching(message) as string };
      await expect(kernel(engine, arch, set)).rejects.toMatchObject(refused);
      await expect(kernel(engine, arch, pick([1]), set)).rejects.toMatchObject(refused);
      await expect(kernelDiagonal(engine, arch, set)).rejects.toMatchObject(refused);
    }
  });

  it("inputs that are no whole number of images, none, or of different shapes are refused", async () => {
    const engine = engineOf("threads 2");
    const refused = (message: RegExp) => ({ code: "E_SHAPE", message: expect.stringMatching(message) as string });
    const cut = { images: new Float32Array(133), shape };
    await expect(kernel(engine, arch, cut)).rejects.toMatchObject(
      refused(/X: 133 numbers are no whole number of inputs/),
    );
    const none = { images: new Float32Array(0), shape };
    await expect(kernel(engine, arch, X, none)).rejects.toMatchObject(refused(/Y: there are no inputs/));
    const other = { images: new Float32Array(26), shape: [1, 13, 1] } as const;
    await expect(kernel(engine, arch, X, other)).rejects.toMatchObject(refused(/13|shape/));
    const turned = { images: new Float32Array(132), shape: [1, 11, 12] } as const;
    await expect(kernel(engine, arch, X, turned)).rejects.toMatchObject(
      refused(/1 x 11 x 12.*1 x 12 x 11|1 x 12 x 11.*1 x 11 x 12/),
    );
  });

  it("a tile size that is none is refused", async () => {
    for (const tile of [0, -1, 2.5, Number.NaN])
      await expect(kernel(engineOf("threads 2"), arch, X, undefined, { tile })).rejects.toMatchObject({
        code: "E_CONFIG",
        message: expect.stringMatching(/tile/) as string,
      });
  });

  it("a matrix that does not fit the memory budget is refused before it starts, with what it needs", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const needed = await kernel(engineAround(backend, 2 ** 20), arch, X).catch((thrown: unknown) => thrown);
    expect(needed).toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(/137 x 137 needs \d+ MiB of memory, the budget is 1 MiB/) as string,
    });
    const { neededBytes } = (needed as WidefieldError).details as { neededBytes: number };
    expect((await kernel(engineAround(backend, neededBytes), arch, X)).rows).toBe(137);
    await backend.close();
  });

  it("stops between tiles, leaves nothing behind, and the engine goes on", async () => {
    const engine = engineOf("threads 2");
    const before = await engine.stats();
    const controller = new AbortController();
    const stopped = kernel(engine, arch, X, undefined, {
      tile: 16,
      signal: controller.signal,
      onProgress: ({ pairsDone, pairsTotal }) => {
        expect(pairsTotal).toBe((137 * 138) / 2);
        if (pairsDone > 1000) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    expect(await engine.stats()).toMatchObject({ buffers: before.buffers, bytes: before.bytes });
    expect(await bits(engine, X)).toEqual(await bits(engine, X, { tile: 31 }));
  });

  it("leaves no buffer behind, on any backend", async () => {
    for (const [name, engine] of backends) {
      for (const options of [{}, F64]) {
        await kernel(engine, arch, X, pick([1, 2]), options);
        await kernelDiagonal(engine, arch, X, options);
        await kernel(engine, serial(conv({ filter: 3 })), X, undefined, options).catch(() => undefined);
        expect(await engine.stats(), name).toMatchObject({ buffers: 0, bytes: 0 });
      }
    }
  });

  it("is refused after close()", async () => {
    const engine = await wasmEngine();
    await engine.close();
    await expect(kernel(engine, arch, X)).rejects.toMatchObject({ code: "E_CLOSED" });
  });
});

describe("a matrix in memory", () => {
  it("gives its blocks, and transposed the blocks' transposes", async () => {
    const values = Float64Array.from({ length: 35 }, (_, i) => i);
    const matrix = new MemoryMatrix(values, { rows: 5, columns: 7, symmetric: false, exponent: 3 });
    expect([...(await matrix.read({ begin: 1, end: 3 }, { begin: 4, end: 7 }))]).toEqual([11, 12, 13, 18, 19, 20]);
    const turned = transposed(matrix);
    expect(turned).toMatchObject({ rows: 7, columns: 5, exponent: 3 });
    expect([...(await turned.read({ begin: 4, end: 7 }, { begin: 1, end: 3 }))]).toEqual([11, 18, 12, 19, 13, 20]);
    expect(await transposed(turned).read({ begin: 0, end: 5 }, { begin: 0, end: 7 })).toEqual(values);
  });
});
