import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, worstRelative } from "../../../test/engines.ts";
import type { ConvOptions, Layer } from "../../../test/reference/programs.ts";
import { convnetGp, digitLike, mulberry32, programOf } from "../../../test/reference/programs.ts";
import { abs, compile, conv as convLayer, dense, erf, flatten, identity, leakyRelu } from "../../arch/arch.ts";
import { mixture, relu as reluLayer, repeat, resnetBlock, serial, step, sum } from "../../arch/arch.ts";
import { kernel as kernelOf } from "../../arch/kernel.ts";
import { encodeProgram } from "../../covariance/encode.ts";
import type { Program } from "../../covariance/program.ts";
import { programShape } from "../../covariance/shape.ts";
import { referenceCovariance, referenceVariances } from "../conformance/reference.ts";
import { covariance, NO_DIAGONAL, variance, webgpuTableFloats, webgpuWorkspace } from "../kernels/covariance.ts";
import type { WebGpuBackend } from "./backend.ts";
import { openForTests } from "./testing.ts";

let backend: WebGpuBackend;
beforeAll(async () => {
  backend = await openForTests();
});
afterAll(() => backend.close());

type Images = readonly Float32Array<ArrayBuffer>[];

interface TileOptions {
  readonly diagonal?: number;
  readonly lower?: boolean;
  /** Longest side of a map, as the kernels are told: above 48 they take a pixel a lane. */
  readonly line?: number;
  /** Slices of the workspace: maps with a pixel a lane stand there, and not in workgroup memory. */
  readonly slices?: number;
}

/** A length that is no program's own: it selects the layout for maps whose lines do not fit in registers. */
const PIXELS = { line: 1000 } as const;
/** Few slices, so that each takes many pairs. */
const SPILLED = { line: 1000, slices: 3 } as const;

/** K(X, Y) and K(X, X)'s diagonal by the two kernels. */
async function gram(program: Program, xs: Images, ys: Images, options: TileOptions = {}) {
  const sizes = programShape(program);
  const needed = webgpuWorkspace(backend.info, sizes, 2 ** 30);
  const slices = options.slices ?? needed.slices;
  const sliceFloats = sizes.slots * sizes.mapPixels + sizes.sumPixels;
  const shape = { ...sizes, slices, sliceFloats, line: options.line ?? sizes.line };
  const workspace = backend.allocate(4 * slices * sliceFloats, "workspace");
  const words = encodeProgram(program);
  const steps = backend.allocate(words.byteLength, "program");
  backend.write(steps, 0, words);
  const tables = [xs, ys].map((images) => {
    const pixels = Float32Array.from(images.flatMap((image) => [...image]));
    const source = backend.allocate(pixels.byteLength, "images");
    backend.write(source, 0, pixels);
    const floats = webgpuTableFloats(images.length, shape.imageFloats, shape.tablePixels);
    const table = backend.allocate(4 * floats, "table");
    const variances = backend.allocate(4 * images.length, "variances");
    backend.dispatch(variance, { ...shape, images: images.length }, [steps, source, table, variances, workspace]);
    backend.free(source);
    return { table, variances };
  });
  const [rows, columns] = tables;
  if (rows === undefined || columns === undefined) throw new Error("two sets of images");
  const output = backend.allocate(4 * xs.length * ys.length, "output");
  backend.dispatch(
    covariance,
    {
      ...shape,
      rows: xs.length,
      columns: ys.length,
      diagonal: options.diagonal ?? NO_DIAGONAL,
      lower: options.lower === true ? 1 : 0,
    },
    [steps, rows.table, columns.table, rows.variances, output, workspace],
  );
  const kernel = new Float32Array(await backend.read(output, 0, 4 * xs.length * ys.length));
  const variances = new Float32Array(await backend.read(rows.variances, 0, 4 * xs.length));
  for (const slot of [steps, output, workspace, ...tables.flatMap(({ table, variances: each }) => [table, each])]) {
    backend.free(slot);
  }
  return { kernel, variances };
}

function pairs(program: Program, xs: Images, ys: Images): number[] {
  return xs.flatMap((x) => ys.map((y) => referenceCovariance(program, x, y)));
}

/** Images of a program, about a third of the pixels blank. */
function someImages(program: Program, ...counts: readonly [number, number]): [Images, Images] {
  const random = mulberry32(Date.now());
  const image = (): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: program.imageFloats }, () => (random() < 0.3 ? 0 : random()));
  const [xs, ys] = counts.map((count) => Array.from({ length: count }, image));
  return [xs ?? [], ys ?? []];
}

function someDigits(count: number, seed: number, height = 28, width = 28, channels = 1): Float32Array<ArrayBuffer>[] {
  const random = mulberry32(seed);
  return Array.from({ length: count }, () => digitLike(random, height, width, channels));
}

describe("the ConvNet GP", () => {
  const program = convnetGp();
  const xs = someDigits(5, 1);
  const ys = someDigits(11, 2);

  it("agrees with float64 to 1e-6, variances and pairs", async () => {
    const { kernel, variances } = await gram(program, xs, ys);
    expect(worstRelative(kernel, pairs(program, xs, ys))).toBeLessThan(1e-6);
    expect(worstRelative(variances, referenceVariances(program, xs))).toBeLessThan(1e-6);
  });
  it("agrees with float64 to 1e-6 for images that are almost the same, and for negatives", async () => {
    const [image] = xs;
    if (image === undefined) throw new Error("no image");
    const nearby = [1e-7, 1e-5, 1e-3].map((change) => image.map((value, p) => value * (1 + (p % 2) * change)));
    const others = [...nearby, image.map((value) => -value)];
    const { kernel } = await gram(program, [image], others);
    expect(worstRelative(kernel, pairs(program, [image], others))).toBeLessThan(1e-6);
  });
  it("is bitwise symmetric, and the same for every tile", async () => {
    const n = ys.length;
    const { kernel } = await gram(program, ys, ys);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < i; j++) expect(kernel[i * n + j]).toBe(kernel[j * n + i]);
    }
    const { kernel: part } = await gram(program, ys.slice(3, 5), ys.slice(2, 9));
    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 7; j++) expect(part[i * 7 + j]).toBe(kernel[(i + 3) * n + j + 2]);
    }
  });
  it("has the variances on the diagonal, wherever the diagonal crosses the tile", async () => {
    for (const diagonal of [0, 2]) {
      const rows = ys.slice(diagonal, diagonal + 3);
      const { kernel, variances } = await gram(program, rows, ys, { diagonal });
      for (let i = 0; i < rows.length; i++) expect(kernel[i * ys.length + i + diagonal]).toBe(variances[i]);
    }
  });
  it("computes all wanted entries of a tile whose upper part is not wanted", async () => {
    const { kernel: all } = await gram(program, xs, xs);
    const { kernel: lower } = await gram(program, xs, xs, { diagonal: 0, lower: true });
    for (let i = 0; i < xs.length; i++) {
      for (let j = 0; j < i; j++) expect(lower[i * xs.length + j]).toBe(all[i * xs.length + j]);
    }
  });
});

describe("programs of every shape agree with float64", () => {
  const relu: Layer = { layer: "relu" };
  const mean: Layer = { layer: "mean" };
  const conv = (filter: readonly [number, number], options: Partial<ConvOptions> = {}): Layer => ({
    layer: "conv",
    filter,
    ...options,
  });
  const same = { padding: "same", biasVariance: 0 } as const;
  const cases: Record<string, Program> = {
    "a dense network": programOf([137, 1, 1], [mean, relu, mean, relu, mean]),
    "one pixel": programOf([1, 1, 1], [conv([3, 3], same), relu, mean]),
    "a line of pixels, two relus in a row": programOf([1, 1, 23], [conv([1, 5], same), relu, relu, mean]),
    "a non-square image of three channels": programOf([3, 9, 13], [conv([3, 5], { padding: "same" }), relu, mean]),
    "strides and valid padding": programOf(
      [1, 13, 11],
      [conv([3, 3], { stride: [2, 2] }), relu, conv([2, 3], { padding: 1 }), relu, mean],
    ),
    "strides that leave pixels out": programOf([1, 11, 12], [conv([1, 1], { stride: [3, 2] }), relu, mean]),
    "convolutions without a relu, one of them pointwise": programOf(
      [2, 5, 7],
      [conv([3, 3], same), conv([1, 1]), conv([3, 3], same), relu, mean],
    ),
    "dilation and even filters": programOf(
      [1, 12, 12],
      [conv([4, 4], same), relu, conv([2, 3], { ...same, dilation: [3, 2] }), relu, mean],
    ),
    "a filter larger than the map": programOf([1, 5, 4], [conv([9, 9], same), relu, mean]),
    "a filter too long to unroll": programOf([1, 6, 5], [conv([19, 17], same), relu, mean]),
    "maps that grow": programOf(
      [1, 4, 5],
      [conv([2, 2], { padding: 3, biasVariance: 0 }), relu, conv([2, 2], { padding: 3 }), relu, mean],
    ),
  };
  for (const [name, program] of Object.entries(cases)) {
    for (const [layout, options] of Object.entries({ "a line a lane": {}, "a pixel a lane": PIXELS })) {
      it(`${name}, ${layout}`, async () => {
        const [xs, ys] = someImages(program, 3, 37);
        const { kernel, variances } = await gram(program, xs, ys, options);
        expect(worstRelative(kernel, pairs(program, xs, ys))).toBeLessThan(1e-6);
        expect(worstRelative(variances, referenceVariances(program, xs))).toBeLessThan(1e-6);
      });
    }
  }
  it("images that share no pixel have covariance exactly 0, not a residue and not NaN", async () => {
    const program = programOf([1, 16, 16], [conv([3, 3], same), relu, mean].slice(0, 2).concat(mean));
    const step = program.steps.at(-1);
    if (step?.kind !== "mean") throw new Error("the read-out is last");
    const unbiased = { ...program, steps: [...program.steps.slice(0, -1), { ...step, bias: 0 }] };
    const random = mulberry32(3);
    const half = (top: number): Float32Array<ArrayBuffer> =>
      Float32Array.from({ length: 256 }, (_, p) => (p >= top * 16 && p < (top + 5) * 16 ? random() : 0));
    for (const options of [{}, PIXELS, SPILLED]) {
      const { kernel, variances } = await gram(unbiased, [half(0), new Float32Array(256)], [half(11)], options);
      expect([...kernel]).toEqual([0, 0]);
      expect(variances[1]).toBe(0);
    }
  });
  it("an empty tile is nothing, and a map that does not fit is refused with both sizes if there is no workspace", async () => {
    const program = programOf([1, 8, 8], [conv([3, 3], same), relu, mean]);
    expect((await gram(program, [], [new Float32Array(64)])).kernel).toHaveLength(0);
    const huge = programOf([1, 100, 100], [conv([3, 3], same), relu, mean]);
    const image = new Float32Array(10000);
    await expect(gram(huge, [image], [image], { slices: 0 })).rejects.toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(/80000 bytes.*\d+/) as string,
    });
  });
});

describe("programs of several maps and of every nonlinearity", () => {
  const biased = { weightVariance: 1.7, biasVariance: 0.3 };
  const readout = [flatten(), dense(biased)] as const;
  const cases: Record<string, Program> = {
    "residual blocks, whose projections add across orientations": compile(
      serial(
        convLayer({ filter: 3 }),
        resnetBlock({ projection: true }),
        resnetBlock(),
        resnetBlock({ projection: true, stride: 2 }),
        ...readout,
      ),
      [2, 11, 8],
    ),
    "sums behind nonlinearities, even filters": compile(
      serial(repeat(3, sum(identity(), serial(convLayer({ filter: 4, ...biased }), reluLayer()))), ...readout),
      [1, 9, 10],
    ),
    "a mixture that reads one map five times": compile(
      serial(
        convLayer({ filter: 3, ...biased }),
        mixture([0.125, 0.125, 0.25, 0.25, 0.25], identity(), reluLayer(), abs(), leakyRelu({ slope: 0.3 }), erf()),
        convLayer({ filter: [2, 3], ...biased }),
        erf(),
        ...readout,
      ),
      [1, 7, 9],
    ),
    "steps and erf": compile(
      serial(convLayer({ filter: 3, ...biased }), step(), convLayer({ filter: 3, ...biased }), erf(), ...readout),
      [1, 8, 7],
    ),
  };
  for (const [name, program] of Object.entries(cases)) {
    it(`${name}: all layouts agree with float64`, async () => {
      const [xs, ys] = someImages(program, 3, 21);
      const expected = pairs(program, xs, ys);
      const variances = referenceVariances(program, xs);
      for (const options of [{}, PIXELS, SPILLED]) {
        const actual = await gram(program, xs, ys, options);
        expect(worstRelative(actual.kernel, expected)).toBeLessThan(1e-6);
        expect(worstRelative(actual.variances, variances)).toBeLessThan(1e-6);
      }
    });
    it(`${name}: a workspace gives the same bits as workgroup memory`, async () => {
      const [xs, ys] = someImages(program, 4, 9);
      for (const tile of [{}, { diagonal: 2, lower: true }]) {
        const held = await gram(program, xs, ys, { ...PIXELS, ...tile });
        const spilled = await gram(program, xs, ys, { ...SPILLED, ...tile });
        expect(spilled.variances).toEqual(held.variances);
        const wanted = (_: number, at: number): boolean => !("lower" in tile) || (at % 9) - Math.floor(at / 9) <= 2;
        expect(spilled.kernel.filter(wanted)).toEqual(held.kernel.filter(wanted));
      }
    });
    it(`${name}: bitwise symmetric in all layouts`, async () => {
      const [xs] = someImages(program, 5, 0);
      for (const options of [{}, PIXELS, SPILLED]) {
        const { kernel } = await gram(program, xs, xs, options);
        for (let i = 0; i < 5; i++) for (let j = 0; j < i; j++) expect(kernel[i * 5 + j]).toBe(kernel[j * 5 + i]);
      }
    });
  }

  it("a line a lane and a pixel a lane differ by rounding alone, 6e-7: half of what each may be off by, and a little", async () => {
    for (const program of [convnetGp(), ...Object.values(cases)]) {
      const [xs, ys] = someImages(program, 2, 7);
      const lines = await gram(program, xs, ys);
      const pixels = await gram(program, xs, ys, PIXELS);
      expect(worstRelative(lines.kernel, pixels.kernel)).toBeLessThan(6e-7);
      expect(lines.variances).toEqual(pixels.variances);
    }
  });

  it("equal images meet at angle 0 under a step: their covariance is their variance, which a rounding would spoil", async () => {
    const program = compile(
      serial(convLayer({ filter: 5, ...biased }), step(), convLayer({ filter: 3, ...biased }), step(), ...readout),
      [1, 13, 11],
    );
    const [xs] = someImages(program, 4, 0);
    const { kernel, variances } = await gram(program, xs, xs);
    for (let i = 0; i < 4; i++) expect(kernel[5 * i]).toBe(variances[i]);
  });

  it("erf is accurate at every size of its argument, near 0 and near 1", async () => {
    const program = compile(serial(convLayer({ filter: 1, weightVariance: 1 }), erf(), flatten()), [1, 1, 1]);
    for (const size of [1e-8, 1e-4, 0.01, 0.3, 1, 3, 30, 1000]) {
      const x = Float32Array.of(size);
      const ys = [size, -size, 1.001 * size, -0.999 * size, 1e-5].map((value) => Float32Array.of(value));
      const { kernel } = await gram(program, [x], ys);
      expect(worstRelative(kernel, pairs(program, [x], ys)), `at ${size}`).toBeLessThan(3e-7);
    }
  });

  it("a pixel without variance gives 0 under a rectifier and a step", async () => {
    for (const layer of [reluLayer(), abs(), leakyRelu({ slope: 0.2 }), step()]) {
      const program = compile(serial(layer, flatten()), [1, 3, 3]);
      const blank = new Float32Array(9);
      for (const options of [{}, PIXELS]) {
        const { kernel, variances } = await gram(program, [blank], [blank, blank.map(() => 1)], options);
        expect([...kernel, ...variances]).toEqual([0, 0, 0]);
      }
    }
  });
});

describe("maps larger than workgroup memory", () => {
  it("stand in a workspace, and agree with float64", async () => {
    const block = sum(identity(), serial(reluLayer(), convLayer({ filter: 3, biasVariance: 0.1 })));
    const program = compile(
      serial(convLayer({ filter: 5, stride: 2 }), block, block, flatten(), dense()),
      [2, 171, 150],
    );
    expect(webgpuWorkspace(backend.info, programShape(program), 2 ** 30).slices).toBeGreaterThan(1);
    const [xs, ys] = someImages(program, 2, 3);
    const { kernel, variances } = await gram(program, xs, ys);
    expect(worstRelative(kernel, pairs(program, xs, ys))).toBeLessThan(1e-6);
    expect(worstRelative(variances, referenceVariances(program, xs))).toBeLessThan(1e-6);
  });
  it("are announced in the engine's log, once a kernel, and maps that fit are not", async () => {
    const arch = serial(convLayer({ filter: 3 }), reluLayer(), flatten());
    const lines: string[] = [];
    const engine = engineOf(backend, 2 ** 30, (line) => lines.push(line));
    for (const shape of [
      [1, 99, 101],
      [1, 28, 28],
    ] as const) {
      const images = Float32Array.from({ length: 3 * shape[1] * shape[2] }, (_, p) => (p % 7) / 7);
      const { values } = await kernelOf(engine, arch, { images, shape }, undefined, { tile: 2 });
      expect(values.every((value) => value > 0)).toBe(true);
    }
    expect(lines).toEqual([expect.stringMatching(/^maps of 99 x 101 pixels do not fit in workgroup memory: layer by/)]);
  });
  it("take a workspace that is bounded, and none where they fit", () => {
    const gpu = { ...backend.info, software: false, workgroupBytes: 32768, maxBufferBytes: 2 ** 30 };
    const maps = (side: number) => ({ slots: 2, mapPixels: side * side, sumPixels: side * side });
    expect(webgpuWorkspace(gpu, maps(28), 2 ** 34)).toEqual({ slices: 0, sliceFloats: 0, bytes: 0 });
    for (const side of [80, 224, 1024]) {
      for (const memory of [2 ** 28, 2 ** 34]) {
        const { slices, sliceFloats, bytes } = webgpuWorkspace(gpu, maps(side), memory);
        expect(sliceFloats).toBe(3 * side * side);
        expect(slices).toBeGreaterThanOrEqual(1);
        expect(bytes).toBe(4 * slices * sliceFloats);
        expect(bytes).toBeLessThanOrEqual(memory / 8);
      }
    }
    expect(webgpuWorkspace({ ...gpu, maxBufferBytes: 2 ** 20 }, maps(1024), 2 ** 34).slices).toBe(0);
  });
});
