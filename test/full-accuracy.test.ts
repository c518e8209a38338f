/**
 * What float32 makes of pooled kernels where digits are easily lost: small pixels, images whose means are zero. Compared
 * with float64 on wasm, which `full-arch-kernels.test.ts` compares with plain loops.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  avgPool,
  compile,
  conv,
  dense,
  erf,
  flatten,
  globalAvgPool,
  relu,
  serial,
  type Arch,
} from "../sdk/arch/arch.ts";
import { kernel } from "../sdk/arch/kernel.ts";
import { encodeFull } from "../sdk/covariance/encode-full.ts";
import { fullWasmWorkspaceF64 } from "../sdk/covariance/full-memory-f64.ts";
import { fullWasmWorkspace } from "../sdk/covariance/full-memory.ts";
import { fullShape } from "../sdk/covariance/full-shape.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { gpuEngine, imageSet, wasmEngine } from "./engines.ts";
import { mulberry32 } from "./reference/programs.ts";
import { freshSeed } from "./seed.ts";
import { wasmConfigurations } from "./wasm.ts";

const seed = freshSeed();
const kinds = ["nngp", "ntk"] as const;
const engines = new Map<string, Engine>();
let double: Engine;
beforeAll(async () => {
  for (const configuration of wasmConfigurations) {
    const { variant, threads } = configuration;
    engines.set(`wasm ${variant}, ${threads} threads`, await wasmEngine(configuration));
  }
  engines.set("webgpu", await gpuEngine());
  double = await wasmEngine({ variant: "threads", threads: 2 });
});
afterAll(async () => {
  for (const engine of engines.values()) await engine.close();
  await double.close();
});

type Images = ReturnType<typeof imageSet>;

/** The largest error of a set's kernels, in units of sqrt(K(x, x) K(y, y)), over some engines. */
async function worstOn(names: Iterable<string>, arch: Arch, images: Images): Promise<{ name: string; error: number }> {
  const exact = await kernel(double, arch, images, undefined, { kind: kinds, precision: "f64" });
  let worst = { name: "none", error: 0 };
  for (const name of names) {
    const engine = engines.get(name);
    if (engine === undefined) throw new Error(`no engine ${name}`);
    const made = await kernel(engine, arch, images, undefined, { kind: kinds });
    for (const kind of kinds) {
      const { values, rows, exponent } = exact[kind];
      const at = (i: number, j: number): number => (values[i * rows + j] ?? NaN) * 2 ** exponent;
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < rows; j++) {
          const actual = (made[kind].values[i * rows + j] ?? NaN) * 2 ** made[kind].exponent;
          const error = Math.abs(actual - at(i, j)) / Math.sqrt(at(i, i) * at(j, j));
          if (!(error <= worst.error)) worst = { name: `${kind} on ${name}`, error };
        }
      }
    }
  }
  return worst;
}

describe("erf", () => {
  const arch = serial(conv({ filter: 3 }), erf(), avgPool({ window: 2 }), conv({ filter: 3 }), erf(), globalAvgPool());
  for (const amplitude of [1, 1e-2, 1e-3, 1e-6]) {
    it(`keeps its digits where pixels are below ${amplitude}`, async () => {
      const random = mulberry32(seed);
      const shape = [2, 6, 6] as const;
      const sets = Array.from({ length: 4 }, () => Float32Array.from({ length: 72 }, () => amplitude * random()));
      const { name, error } = await worstOn(engines.keys(), arch, imageSet(sets, shape));
      expect(error, name).toBeLessThan(1e-6);
    });
  }

  it("in float64 has the angle of close pixels: kappa_0 behind it falls in proportion to their distance", async () => {
    const random = mulberry32(seed);
    const shape = [1, 3, 3] as const;
    // Multiples of 2^-12 below 1, so that both distances lie in the same direction, exactly.
    const image = Float32Array.from({ length: 9 }, () => (2048 + Math.floor(2000 * random())) / 4096);
    const network = serial(conv({ filter: 3 }), erf(), conv({ filter: 3 }), relu(), globalAvgPool(), dense());
    const slopes: number[] = [];
    for (const step of [2 ** -13, 2 ** -24]) {
      const images = imageSet([image, image.map((value, at) => (at % 2 === 0 ? value + step : value))], shape);
      const { values } = await kernel(double, network, images, undefined, { kind: "ntk", precision: "f64" });
      slopes.push(((values[0] ?? NaN) + (values[3] ?? NaN) - 2 * (values[1] ?? NaN)) / step);
    }
    expect(Math.abs((slopes[1] ?? NaN) / (slopes[0] ?? NaN) - 1)).toBeLessThan(1e-2);
  });
});

/** Smooth random images, each with mean 0 and variance 1 in every channel: what standardised photographs look like. */
function standardised(
  random: () => number,
  count: number,
  [channels, height, width]: readonly [number, number, number],
) {
  const wave = (): ((row: number, column: number) => number) => {
    const [a, b, phase, size] = [6 * random() - 3, 6 * random() - 3, 7 * random(), random()];
    return (row, column) => size * Math.sin((a * row) / height + (b * column) / width + phase);
  };
  return Array.from({ length: count }, () => {
    const image = new Float32Array(channels * height * width);
    const shared = Array.from({ length: 4 }, wave);
    for (let c = 0; c < channels; c++) {
      const waves = [...shared, wave(), wave()];
      const plane = image.subarray(c * height * width, (c + 1) * height * width);
      plane.forEach((_, p) => {
        const at = waves.map((each) => each(Math.floor(p / width), p % width));
        plane[p] = at.reduce((sum, value) => sum + value, 0.2 * random());
      });
      const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length;
      const size = Math.sqrt(plane.reduce((sum, value) => sum + (value - mean) ** 2, 0) / plane.length);
      plane.forEach((value, p) => (plane[p] = (value - mean) / size));
    }
    return image;
  });
}

describe("global pools of images whose means are zero", () => {
  const first = conv({ filter: 3 });
  const networks = {
    erf: serial(first, erf(), globalAvgPool(), dense()),
    nothing: serial(first, globalAvgPool(), dense()),
  };
  for (const [name, arch] of Object.entries(networks)) {
    it(`behind ${name}: within 1e-5`, async () => {
      const shape = [2, 14, 14] as const;
      const images = imageSet(standardised(mulberry32(seed), 2, shape), shape);
      const worst = await worstOn(engines.keys(), arch, images);
      expect(worst.error, worst.name).toBeLessThan(1e-5);
    });
  }
});

describe("long signals", () => {
  it("of one row take memory in proportion to their pixels", async () => {
    const arch = serial(conv({ filter: [1, 3] }), relu(), avgPool({ window: [1, 2] }), flatten(), dense());
    const shape = [1, 1, 4000] as const;
    const program = compile(arch, shape, { ntk: true, parametrisation: "ntk" });
    const sizes = fullShape(program);
    expect(fullWasmWorkspace(sizes, 1).bytes).toBeLessThan(2 ** 24);
    expect(fullWasmWorkspaceF64(sizes, 1).bytes).toBeLessThan(2 ** 24);
    const random = mulberry32(seed);
    const images = imageSet(
      [0, 1].map(() => Float32Array.from({ length: 4000 }, () => random())),
      shape,
    );
    const { name, error } = await worstOn(
      [...engines.keys()].filter((each) => each.startsWith("wasm")),
      arch,
      images,
    );
    expect(error, name).toBeLessThan(1e-6);
  });

  it("whose offsets do not fit in a program are refused", () => {
    const arch = serial(conv({ filter: [1, 3] }), relu(), globalAvgPool(), dense());
    const program = compile(arch, [1, 1, 32769], { ntk: true, parametrisation: "ntk" });
    expect(() => encodeFull(program)).toThrow(/pixels that are 32768 apart meet.*at most 32767.*smaller images/);
  });
});
