/**
 * NNGPs and NTKs with average pooling, on every backend, against a float64 reference that works from the architecture's
 * JSON and carries the covariances of all pairs of pixels.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compile, conv, dense, relu, serial, step, globalAvgPool } from "../sdk/arch/arch.ts";
import { archFromJson } from "../sdk/arch/json.ts";
import { kernel, kernelDiagonal, type KernelOptions } from "../sdk/arch/kernel.ts";
import type { LayerJson } from "../sdk/arch/layer.ts";
import { referenceFull } from "../sdk/engine/conformance/full-reference.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { gpuEngine, imageSet, wasmEngine } from "./engines.ts";
import { fullPair } from "./reference/full-arch.ts";
import { mulberry32 } from "./reference/programs.ts";
import { randomFullCase, randomInputs } from "./reference/random-arch.ts";
import { freshSeed } from "./seed.ts";
import { wasmConfigurations } from "./wasm.ts";

const seed = freshSeed();
const engines = new Map<string, Engine>();
beforeAll(async () => {
  for (const configuration of wasmConfigurations) {
    const { variant, threads } = configuration;
    engines.set(`wasm ${variant}, ${threads} threads`, await wasmEngine(configuration));
  }
  engines.set("webgpu", await gpuEngine());
});
afterAll(async () => {
  for (const engine of engines.values()) await engine.close();
});

/**
 * Two plain float64 references differ by so much: pixels of one channel, or windows that see one pixel of each image, have
 * cosine 1, and a rounding of 1e-16 there is 1e-8 of the angle. A wrong weight, tap or offset is seen from 1e-3 on.
 */
const CONDITIONED = 1e-7;

/**
 * Pixels that are off by a rounding of float32, and how many times what that does to a kernel may be the kernel's own
 * error. Nearly always it is nothing; where cosines are 1, as of windows that see one pixel of each image, a rounding is
 * 1e-4 of an angle, whatever computes it.
 */
const NUDGES = 4;
const nudge = (image: Float32Array, random: () => number): Float64Array =>
  Float64Array.from(image, (value) => value * (1 + 2 ** -23 * (random() - 0.5)));

function engineOf(name: string): Engine {
  const engine = engines.get(name);
  if (engine === undefined) throw new Error(`no engine ${name}`);
  return engine;
}

/**
 * Errors are relative to the kernel; where inputs have both signs and cancel, in a pool's means too, to the kernel of the
 * pixels' magnitudes, sqrt(K(|x|, |x|) K(|y|, |y|)): what its sums are made of.
 */
async function worstOver(count: number, begin: number, engine: Engine, options: KernelOptions, signed: boolean) {
  let largest = { error: 0, case: "" };
  for (let turn = 0; turn < count; turn++) {
    const random = mulberry32(begin + turn);
    const { arch, shape } = randomFullCase(random);
    const xs = randomInputs(random, shape, 2, signed);
    const ys = [...randomInputs(random, shape, 4, signed), xs[0] ?? new Float32Array()];
    const kind = ["nngp", "ntk"] as const;
    const made = await kernel(engine, archFromJson(arch), imageSet(xs, shape), imageSet(ys, shape), {
      ...options,
      kind,
    });
    const own = (set: Float32Array[]) =>
      set.map((image) => image.map(Math.abs)).map((x) => fullPair(arch, shape, x, x));
    const [rows, columns] = [own(xs), own(ys)];
    for (const [i, x] of xs.entries()) {
      for (const [j, y] of ys.entries()) {
        // The last column is the first row's image: an image with itself, in another place.
        const expected = fullPair(arch, shape, x, y, "ntk", x === y);
        const nudged =
          options.precision === "f64" ? expected : fullPair(arch, shape, nudge(x, random), nudge(y, random));
        for (const name of kind) {
          const size = signed
            ? Math.sqrt((rows[i]?.[name] ?? 0) * (columns[j]?.[name] ?? 0))
            : Math.abs(expected[name]);
          const { values, exponent } = made[name];
          const actual = (values[i * ys.length + j] ?? Number.NaN) * 2 ** exponent;
          const off = Math.abs(actual - expected[name]) - NUDGES * Math.abs(nudged[name] - expected[name]);
          const error = size === 0 ? Math.abs(actual - expected[name]) : Math.max(0, off) / size;
          if (error <= largest.error) continue;
          largest = { error, case: `seed ${begin + turn}, ${name} of ${i}, ${j}: ${JSON.stringify({ shape, arch })}` };
        }
      }
    }
    if (Number.isNaN(largest.error)) break;
  }
  return largest;
}

describe("compiled programs of random architectures mean what their JSON means", () => {
  for (const parametrisation of ["ntk", "standard"] as const) {
    it(`in the ${parametrisation} parametrisation`, () => {
      for (let turn = 0; turn < 60; turn++) {
        const random = mulberry32(seed + turn);
        const drawn = randomFullCase(random);
        const { shape } = drawn;
        const arch = withWidths(drawn.arch, shape[0]);
        const [x, y] = randomInputs(random, shape, 2, turn % 2 === 0);
        if (x === undefined || y === undefined) throw new Error("two inputs");
        const program = compile(archFromJson(arch), shape, { ntk: true, parametrisation });
        for (const other of [x, y]) {
          const actual = referenceFull(program, x, other);
          const expected = fullPair(arch, shape, x, other, parametrisation);
          const size = fullPair(arch, shape, x, x, parametrisation);
          for (const name of ["nngp", "ntk"] as const) {
            const error = Math.abs(actual[name] * 2 ** program.exponent - expected[name]);
            expect(error, JSON.stringify({ turn, shape, arch })).toBeLessThanOrEqual(
              CONDITIONED * (size[name] + expected[name]),
            );
          }
        }
      }
    });
  }
});

/** Channels and units, those of the input for all layers, so that the branches of sums fit. */
function withWidths(arch: LayerJson, width: number): LayerJson {
  return JSON.parse(JSON.stringify(arch), (_, value: unknown) => {
    if (typeof value !== "object" || value === null || !("type" in value)) return value;
    if (value.type === "conv") return { ...value, channels: width };
    return value.type === "dense" ? { ...value, units: width } : value;
  }) as LayerJson;
}

describe("random architectures with pooling: NNGP and NTK", () => {
  it("in float64 to 1e-10", async () => {
    const engine = engineOf("wasm threads, 2 threads");
    for (const signed of [false, true]) {
      const worst = await worstOver(25, seed, engine, { precision: "f64" }, signed);
      expect(worst.error, worst.case).toBeLessThan(1e-10);
    }
  });
  for (const { variant, threads } of wasmConfigurations) {
    const name = `wasm ${variant}, ${threads} threads`;
    it(`in float32 on ${name} to 1e-5`, async () => {
      for (const signed of [false, true]) {
        const worst = await worstOver(20, seed + 100, engineOf(name), {}, signed);
        expect(worst.error, worst.case).toBeLessThan(1e-5);
      }
    });
  }
  it("in float32 on webgpu to 1e-5", async () => {
    for (const signed of [false, true]) {
      const worst = await worstOver(8, seed + 200, engineOf("webgpu"), {}, signed);
      expect(worst.error, worst.case).toBeLessThan(1e-5);
    }
  });
});

describe("a pooled NTK", () => {
  const shape = [2, 6, 5] as const;
  const arch = serial(
    conv({ filter: 3 }),
    relu(),
    conv({ filter: 3, biasVariance: 0.1 }),
    relu(),
    globalAvgPool(),
    dense(),
  );
  const options = { kind: ["nngp", "ntk"], tile: 3 } as const;

  it("is bitwise the same for (x, y) and (y, x), whatever the tile, and its diagonal is that of kernelDiagonal", async () => {
    const random = mulberry32(seed);
    const images = imageSet(randomInputs(random, shape, 7), shape);
    const others = imageSet(randomInputs(random, shape, 5), shape);
    for (const [name, engine] of engines) {
      const across = await kernel(engine, arch, images, others, options);
      const turned = await kernel(engine, arch, others, images, { ...options, tile: 256 });
      const among = await kernel(engine, arch, images, undefined, options);
      for (const kind of ["nngp", "ntk"] as const) {
        const transposed = Array.from(
          across[kind].values,
          (_, at) => turned[kind].values[(at % 5) * 7 + Math.floor(at / 5)],
        );
        expect(Array.from(across[kind].values), name).toEqual(transposed);
        const diagonal = await kernelDiagonal(engine, arch, images, { kind });
        expect(Array.from({ length: 7 }, (_, i) => among[kind].values[i * 8])).toEqual(Array.from(diagonal));
      }
    }
  });

  it("of one kind is that of both kinds together", async () => {
    const images = imageSet(randomInputs(mulberry32(seed), shape, 5), shape);
    for (const [name, engine] of engines) {
      const both = await kernel(engine, arch, images, undefined, options);
      for (const kind of ["nngp", "ntk"] as const) {
        const alone = await kernel(engine, arch, images, undefined, { kind });
        expect(Array.from(alone.values), name).toEqual(Array.from(both[kind].values));
      }
    }
  });
});

describe("NTKs that there are none of", () => {
  const images = { images: new Float32Array(16).fill(0.5), shape: [1, 4, 4] } as const;

  it("of a step are refused with the reason", async () => {
    const arch = serial(conv({ filter: 3 }), step(), globalAvgPool(), dense());
    const engine = engineOf("wasm threads, 2 threads");
    await expect(kernel(engine, arch, images, undefined, { kind: "ntk" })).rejects.toThrow(/step has no NTK.*diverges/);
    expect((await kernel(engine, arch, images)).values).toHaveLength(1);
  });

  it("in standard parametrisation without widths are refused", async () => {
    const arch = serial(conv({ filter: 3 }), relu(), globalAvgPool(), dense());
    const asked = kernel(engineOf("wasm threads, 2 threads"), arch, images, undefined, {
      kind: "ntk",
      parametrisation: "standard",
    });
    await expect(asked).rejects.toThrow(/needs the widths of all layers/);
  });

  it("a kind that is none is refused", async () => {
    const kind = "nkt" as "ntk";
    const asked = kernel(
      engineOf("wasm threads, 2 threads"),
      serial(conv({ filter: 4, padding: "valid" })),
      images,
      undefined,
      { kind },
    );
    await expect(asked).rejects.toThrow(/kind is "nngp", "ntk"/);
  });
});
