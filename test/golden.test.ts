/**
 * Accuracy against kernels that were computed elsewhere in extended precision, and of float32 against our own float64.
 * Each test on published images has a twin on the built-in digits, against the float64 reference, which always runs.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dense, relu, serial, type Arch } from "../sdk/arch/arch.ts";
import { kernel, kernelDiagonal } from "../sdk/arch/kernel.ts";
import type { ImageSet } from "../sdk/arch/image-set.ts";
import { preset } from "../sdk/arch/presets.ts";
import type { KernelKind } from "../sdk/arch/kernel-spec.ts";
import type { Dataset } from "../sdk/data/dataset.ts";
import { digits } from "../sdk/data/digits.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { loadDataset } from "../sdk/data/registry.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { gpuEngine, wasmEngine, worstRelative } from "./engines.ts";
import {
  cifar8,
  golden,
  goldenArch,
  hasCifar,
  hasGolden,
  hasMnist,
  mnistFolder,
  type Golden,
  type GoldenLayer,
} from "./golden-files.ts";
import { referenceKernel } from "./reference/arch.ts";
import { mulberry32 } from "./reference/programs.ts";
import { freshSeed } from "./seed.ts";
import { wasmConfigurations } from "./wasm.ts";

const seed = freshSeed();
const F64 = { precision: "f64" } as const;
const convnet = preset("convnet-gp");
/** Every backend, by name. */
const engines = new Map<string, Engine>();
let wasm: Engine;

beforeAll(async () => {
  for (const configuration of wasmConfigurations) {
    const { variant, threads } = configuration;
    engines.set(`wasm ${variant}, ${threads} threads`, await wasmEngine(configuration));
  }
  engines.set("webgpu", await gpuEngine());
  wasm = await wasmEngine();
});
afterAll(async () => {
  for (const engine of [...engines.values(), wasm]) await engine.close();
});

/** Errors of float64, and of float32 on every backend, of the kernel among some images. */
async function errors(
  arch: Arch,
  double: ImageSet,
  single: ImageSet,
  expected: ArrayLike<number>,
  kind: KernelKind = "nngp",
) {
  const f64 = worstRelative((await kernel(wasm, arch, double, undefined, { ...F64, kind })).values, expected);
  const f32: Record<string, number> = {};
  for (const [name, engine] of engines)
    f32[name] = worstRelative((await kernel(engine, arch, single, undefined, { kind })).values, expected);
  return { f64, f32 };
}

function expectAccurate({ f64, f32 }: Awaited<ReturnType<typeof errors>>, single = 1e-6, double = 1e-12): void {
  expect(f64).toBeLessThan(double);
  for (const [name, error] of Object.entries(f32)) expect(error, name).toBeLessThan(single);
}

/** What is promised of the presets for MNIST in float32: thirty-two layers collect more roundings than eight. */
const presetTolerance = { "convnet-gp": 1e-6, "residual-cnn-gp": 1e-6, "resnet32-gp": 2e-6 } as const;

/** float32 on every backend against our own float64, on `n` x `n` images that are not the same. */
async function expectSingleAsDouble(dataset: Dataset, n: number): Promise<void> {
  const [rows, columns] = [`0:${n}`, `${dataset.trainCount}:${dataset.trainCount + n}`];
  const double = await kernel(wasm, convnet, dataset.select(rows), dataset.select(columns), F64);
  const diagonal = await kernelDiagonal(wasm, convnet, dataset.select(rows), F64);
  for (const [name, engine] of engines) {
    const single = await kernel(engine, convnet, dataset.select(rows), dataset.select(columns));
    expect(worstRelative(single.values, double.values), name).toBeLessThan(1e-6);
    expect(worstRelative(await kernelDiagonal(engine, convnet, dataset.select(rows)), diagonal), name).toBeLessThan(
      1e-6,
    );
  }
}

const images = (set: ImageSet, floats: number) =>
  Array.from({ length: set.images.length / floats }, (_, i) => set.images.subarray(i * floats, (i + 1) * floats));

describe.runIf(hasGolden)("reference kernels of MNIST", () => {
  let reference: Golden;
  let mnist: Dataset;
  beforeAll(async () => {
    reference = await golden();
    mnist = await loadDataset("mnist", { dataDir: mnistFolder, readFile: readFileFromDisk });
  });
  const ranges = (indices: number[]) => indices.map((index) => ({ start: index, end: index + 1 }));

  for (const [name, tolerance] of Object.entries(presetTolerance)) {
    it(`${name}: float64 within 1e-12, float32 within ${tolerance} on every backend`, async () => {
      const { indices, kernels } = reference.mnist;
      const expected = kernels[name]?.flat() ?? [];
      const which = ranges(indices);
      expectAccurate(await errors(preset(name), mnist.selectFloat64(which), mnist.select(which), expected), tolerance);
    });
  }

  it("dense networks of 2, 3 and 4 layers on images of norm sqrt(784), likewise", async () => {
    const { indices, kernels } = reference.fc;
    const { images: pixels } = mnist.selectFloat64(ranges(indices));
    const scaled = Float64Array.from(pixels);
    for (const image of images({ images: scaled, shape: [784] }, 784)) {
      const norm = Math.hypot(...image);
      image.forEach((value, p) => (image[p] = (value * 28) / norm));
    }
    for (const [depth, { nngp, ntk }] of Object.entries(kernels)) {
      const arch = serial(dense(), ...Array.from({ length: Number(depth) - 1 }, () => [relu(), dense()]).flat());
      const double = { images: scaled, shape: [784] } as const;
      const single = { images: Float32Array.from(scaled), shape: [784] } as const;
      expectAccurate(await errors(arch, double, single, nngp.flat()));
      expectAccurate(await errors(arch, double, single, ntk.flat(), "ntk"), 1e-5, 1e-12);
    }
  });
});

/** Those without pooling. */
const diagonal = ["conv-strided-valid", "conv-even-dilated", "conv-erf", "residual", "resnet-strided"];

async function cifarCase(name: string) {
  const { first, count, kernels } = (await golden()).cifar8;
  const known = kernels[name];
  if (known === undefined) throw new Error(`no reference kernel is called ${name}`);
  const double = { images: await cifar8(first, count), shape: [3, 8, 8] } as const;
  const single = { images: Float32Array.from(double.images), shape: double.shape };
  return { ...known, arch: goldenArch(known.arch), double, single };
}

describe.runIf(hasCifar)("reference kernels of CIFAR at 8 x 8", () => {
  for (const name of diagonal) {
    it(`${name}: float64 within 1e-12, float32 within 1e-6 on every backend`, async () => {
      const { arch, double, single, nngp } = await cifarCase(name);
      expectAccurate(await errors(arch, double, single, nngp.flat()));
    });
  }

  for (const name of [...diagonal, "myrtle5", "conv-gap"]) {
    it(`${name}, NTK${diagonal.includes(name) ? "" : " and NNGP"}: float64 within 1e-12, float32 within 1e-5`, async () => {
      const { arch, double, single, nngp, ntk } = await cifarCase(name);
      expectAccurate(await errors(arch, double, single, ntk.flat(), "ntk"), 1e-5);
      if (!diagonal.includes(name)) expectAccurate(await errors(arch, double, single, nngp.flat()), 1e-5);
    });
  }
});

describe("the reference's kernels of synthetic images", () => {
  for (const [name, tolerance] of Object.entries({ ...presetTolerance, "lenet-like": 1e-6 })) {
    it(`${name} on digits: float64 within 1e-12, float32 within ${tolerance} on every backend`, async () => {
      const dataset = digits({ seed: seed });
      const [double, single] = [dataset.selectFloat64("0:4"), dataset.select("0:4")];
      const rows = images(double, 784);
      const expected = referenceKernel(preset(name).toJSON(), [1, 28, 28], rows, rows);
      expectAccurate(await errors(preset(name), double, single, expected), tolerance);
    });
  }

  it("cifar-resnet32-gp on random colours, likewise", async () => {
    const random = mulberry32(seed);
    const shape = [3, 32, 32] as const;
    const double = Float64Array.from({ length: 3 * 3072 }, () => Math.fround(random()));
    const rows = images({ images: double, shape }, 3072);
    const arch = preset("cifar-resnet32-gp");
    const expected = referenceKernel(arch.toJSON(), shape, rows, rows);
    const single = { images: Float32Array.from(double), shape };
    expectAccurate(await errors(arch, { images: double, shape }, single, expected), 2e-6);
  });

  it("the architectures of the CIFAR test on random colours, likewise", async () => {
    const random = mulberry32(seed);
    const shape = [3, 8, 8] as const;
    const double = Float64Array.from({ length: 4 * 192 }, () => Math.fround(random()));
    const rows = images({ images: double, shape }, 192);
    const conv3: GoldenLayer = ["conv", 3, 1, "same", 1, 0, 1];
    const architectures: GoldenLayer[][] = [
      [["conv", 3, 1, "same", 1.3, 0.2, 1], ["relu"], ["conv", 3, 2, "valid", 2, 0.1, 1], ["relu"]],
      [["conv", 4, 1, "same", 1.3, 0.2, 1], ["relu"], ["conv", 3, 1, 2, 1.7, 0.3, 2], ["relu"]],
      [["conv", 3, 1, "same", 1.5, 0.1, 1], ["erf"], ["conv", 3, 1, "same", 1.5, 0.1, 1], ["erf"]],
      [["conv", 3, 1, "same", 2, 0.1, 1], ["sum", [[], [["relu"], ["conv", 3, 1, "same", 2, 0.1, 1]]]], ["relu"]],
      [
        conv3,
        ["relu"],
        ["sum", [[["conv", 1, 2, "same", 1, 0, 1]], [["conv", 3, 2, "same", 1, 0, 1], ["relu"], conv3]]],
        ["sum", [[], [["relu"], conv3, ["relu"], conv3]]],
        ["relu"],
      ],
    ];
    for (const layers of architectures) {
      const arch = goldenArch([...layers, ["flatten"], ["dense", 1.1, 0.4]]);
      const expected = referenceKernel(arch.toJSON(), shape, rows, rows);
      expectAccurate(
        await errors(arch, { images: double, shape }, { images: Float32Array.from(double), shape }, expected),
      );
    }
  });
});

describe("float32 is within 1e-6 of our own float64 on every backend", () => {
  it.runIf(hasMnist)("64 x 64 pairs of MNIST", async () => {
    await expectSingleAsDouble(await loadDataset("mnist", { dataDir: mnistFolder, readFile: readFileFromDisk }), 64);
  });
  it("64 x 64 pairs of digits", async () => {
    await expectSingleAsDouble(digits({ seed: seed }), 64);
  });
});
