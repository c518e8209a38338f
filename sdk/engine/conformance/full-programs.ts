/** The full covariance programs that the suite runs (pools, NTKs), and images for them. */
import { abs, avgPool, compile, conv, dense, erf, flatten, globalAvgPool, identity } from "../../arch/arch.ts";
import { leakyRelu, mixture, relu, repeat, resnetBlock, serial, step, sum, type Arch } from "../../arch/arch.ts";
import type { Shape } from "../../arch/layer.ts";
import { isNonlinearity, type Program } from "../../covariance/program.ts";
import { NNGP, NTK } from "../kernels/full-covariance.ts";
import type { RandomStream } from "../rng.ts";

export interface FullTestProgram {
  readonly name: string;
  readonly program: Program;
  /** NNGP, NTK or their sum: what is asked for. */
  readonly kinds: number;
  /** Pixels of both signs. */
  readonly signed: boolean;
}

const bias = { weightVariance: 1.7, biasVariance: 0.3 };
const plain = { weightVariance: 1.7, biasVariance: 0 };
const both = NNGP + NTK;

/** Which of the two kernels are asked for, of which images, and how fast the layers learn. */
interface Wanted {
  readonly kinds?: number;
  readonly signed?: boolean;
  readonly parametrisation?: "ntk" | "standard";
}

function named(name: string, shape: Shape, arch: Arch, wanted: Wanted = {}): FullTestProgram {
  const { kinds = both, signed = false, parametrisation = "ntk" } = wanted;
  const program = compile(arch, shape, { ntk: (kinds & NTK) !== 0, parametrisation });
  return { name: `${name} on ${shape.join("x")}`, program, kinds, signed };
}

/** Like Myrtle5, on images of side x side pixels: on 8 x 8 it is what is timed. */
export function myrtle(side: number): FullTestProgram {
  const layer = [conv({ filter: 3, weightVariance: 2 }), relu()];
  const half = avgPool({ window: 2 });
  const arch = serial(...layer, ...layer, half, ...layer, half, flatten(), dense());
  return named("myrtle", [3, side, side], arch);
}

/** Small ones: a pixel more on each side is a fourfold of offsets, and software GPUs take their time over each. */
export function fullTestPrograms(): FullTestProgram[] {
  return [
    myrtle(4),
    named(
      "no pools",
      [2, 5, 7],
      serial(conv({ filter: 3, ...bias }), relu(), conv({ filter: 3, ...plain }), relu(), flatten(), dense(bias)),
      { kinds: NTK },
    ),
    named("dense", [13], serial(dense(plain), relu(), dense(bias), relu(), dense(plain)), { signed: true }),
    named(
      "standard parametrisation, global pool, dense layers behind it",
      [3, 5, 4],
      serial(
        conv({ filter: 3, channels: 64, ...bias }),
        relu(),
        conv({ filter: 3, channels: 32, ...plain }),
        relu(),
        globalAvgPool(),
        dense({ units: 16, ...bias }),
        relu(),
        dense(plain),
      ),
      { parametrisation: "standard", signed: true },
    ),
    named(
      "overlapping windows and pixels left over",
      [2, 6, 7],
      serial(
        conv({ filter: 3, ...bias }),
        relu(),
        avgPool({ window: 3, stride: 2 }),
        conv({ filter: 2, ...plain }),
        relu(),
        avgPool({ window: [1, 2], stride: 1 }),
        relu(),
        flatten(),
        dense(bias),
      ),
    ),
    named(
      "strides, dilation and even filters between pools",
      [2, 7, 6],
      serial(
        conv({ filter: 4, stride: [2, 1], ...bias }),
        relu(),
        avgPool({ window: [1, 2] }),
        conv({ filter: [2, 3], dilation: [2, 1], ...plain }),
        relu(),
        conv({ filter: 3, stride: 2, padding: "same-tf", ...bias }),
        relu(),
        globalAvgPool(),
        dense(plain),
      ),
      { signed: true },
    ),
    named(
      "residual sums across strides and across pools",
      [3, 5, 6],
      serial(
        conv({ filter: 3, ...plain }),
        resnetBlock({ projection: true, stride: 2 }),
        sum(identity(), serial(relu(), conv({ filter: 3, ...bias }))),
        sum(
          serial(conv({ filter: 2, stride: 2, padding: 1, ...plain }), relu()),
          serial(conv({ filter: 3, ...bias }), relu(), avgPool({ window: 2, stride: 1 })),
          avgPool({ window: 2, stride: 1 }),
        ),
        relu(),
        globalAvgPool(),
        dense(bias),
      ),
    ),
    named(
      "a map that outlives two stages",
      [2, 4, 5],
      serial(
        conv({ filter: 3, ...bias }),
        sum(
          conv({ filter: 3, ...plain }),
          serial(relu(), avgPool({ window: 3, stride: 1 }), conv({ filter: 3, padding: 2, ...plain })),
        ),
        relu(),
        avgPool({ window: 3 }),
        flatten(),
        dense(bias),
      ),
    ),
    named(
      "repeated pools, odd sizes",
      [2, 5, 9],
      serial(
        avgPool({ window: 2 }),
        repeat(2, serial(conv({ filter: 3, ...bias }), relu(), avgPool({ window: [1, 2], stride: 1 }))),
        globalAvgPool(),
        dense(),
      ),
    ),
    named(
      "a mixture of nonlinearities",
      [2, 5, 4],
      serial(
        conv({ filter: 3, ...bias }),
        mixture([0.125, 0.125, 0.25, 0.25, 0.25], identity(), relu(), abs(), leakyRelu({ slope: 0.3 }), erf()),
        avgPool({ window: 2, stride: 1 }),
        conv({ filter: 3, ...bias }),
        erf(),
        conv({ filter: 2, ...plain }),
        leakyRelu({ slope: 0.1 }),
        conv({ filter: 3, ...bias }),
        abs(),
        globalAvgPool(),
        dense(bias),
      ),
      { signed: true },
    ),
    named(
      "steps and absolute values, the NNGP alone",
      [2, 5, 4],
      serial(
        conv({ filter: 3, ...plain }),
        step(),
        avgPool({ window: 2, stride: [2, 1] }),
        conv({ filter: 3, ...bias }),
        abs(),
        conv({ filter: 2, ...bias }),
        step({ sqrt2: true }),
        globalAvgPool(),
        dense(bias),
      ),
      { kinds: NNGP, signed: true },
    ),
    named(
      "an input that is pooled",
      [3, 4, 6],
      serial(
        avgPool({ window: [3, 2], stride: [1, 2] }),
        conv({ filter: [1, 3], ...bias }),
        relu(),
        globalAvgPool(),
        dense(bias),
      ),
      { kinds: NTK, signed: true },
    ),
  ];
}

/**
 * `count` images of the program, one after the other: a third of the pixels blank in all channels, the others in
 * [0, 1), or in (-1, 1) for signed ones. Of three or more, the second is wholly blank (no variance anywhere without
 * biases), and the third is the first with one number changed by a hair (cosines close to 1).
 */
export function fullTestImages(test: FullTestProgram, random: RandomStream, count: number): Float32Array<ArrayBuffer> {
  const { program, signed } = test;
  const floats = program.imageFloats;
  const [input] = program.steps;
  const plane = input?.kind === "input" ? input.height * input.width : 1;
  const images = new Float32Array(count * floats).map(() => (signed ? 2 * random.uniform32() - 1 : random.uniform32()));
  for (let pixel = 0; pixel < count * plane; pixel++) {
    if (plane === 1 || random.uniform32() > 1 / 3) continue;
    const first = Math.floor(pixel / plane) * floats + (pixel % plane);
    for (let at = 0; at < floats; at += plane) images[first + at] = 0;
  }
  if (count < 3) return images;
  images.fill(0, floats, 2 * floats);
  images.copyWithin(2 * floats, 0, floats);
  images[2 * floats] = (images[2 * floats] ?? 0) + hair(program);
  return images;
}

/**
 * How little two images differ. Behind a pool, D is a small difference of large means, which float32 has to 1e-7 of the
 * variance only; a nonlinearity there sees u = 1 - c with that error, and kappa_0 = 1/2 - sqrt(u) A(u) has 2e-8 / sqrt(u).
 * That is conditioning, no fault: there u has to be 1e-5 at least.
 */
function hair({ steps }: Program): number {
  const pool = steps.findIndex(({ kind }) => kind === "pool");
  return pool >= 0 && steps.slice(pool).some(isNonlinearity) ? 2 ** -3 : 2 ** -10;
}
