/** The covariance programs that the suite runs, and images for them. It looks up to `arch` for their architectures. */
import { abs, compile, conv, dense, erf, flatten, identity, leakyRelu, type Arch } from "../../arch/arch.ts";
import { mixture, relu, repeat, resnetBlock, serial, step, sum } from "../../arch/arch.ts";
import type { Shape } from "../../arch/layer.ts";
import { preset } from "../../arch/presets.ts";
import type { Program } from "../../covariance/program.ts";
import type { RandomStream } from "../rng.ts";

export interface TestProgram {
  readonly name: string;
  readonly program: Program;
}

const bias = { weightVariance: 1.7, biasVariance: 0.3 };
const plain = { weightVariance: 1.7, biasVariance: 0 };
const readout = [flatten(), dense(bias)] as const;

function named(name: string, shape: Shape, arch: Arch): TestProgram {
  return { name: `${name} on ${shape.join("x")}`, program: compile(arch, shape) };
}

/** The ConvNet GP for MNIST: what is timed. */
export function convnetGp(): TestProgram {
  return named("convnet-gp", [1, 28, 28], preset("convnet-gp"));
}

export function testPrograms(): TestProgram[] {
  return [
    convnetGp(),
    named("dense", [137], serial(dense(bias), relu(), dense(plain), relu({ sqrt2: true }), dense(bias))),
    named("one pixel", [1, 1, 1], serial(conv({ filter: 3, ...plain }), relu(), ...readout)),
    named(
      "rectangular filters, three channels",
      [3, 9, 13],
      serial(conv({ filter: [3, 5], ...bias }), relu(), conv({ filter: [1, 2], ...plain }), relu(), ...readout),
    ),
    named(
      "strides without padding",
      [1, 13, 11],
      serial(
        conv({ filter: 3, stride: 2, padding: "valid", ...bias }),
        relu(),
        conv({ filter: [2, 3], stride: [1, 2], padding: 1, ...plain }),
        relu(),
        ...readout,
      ),
    ),
    named(
      "TensorFlow's padding, stride 2",
      [2, 10, 7],
      serial(conv({ filter: 3, stride: 2, padding: "same-tf", ...plain }), relu(), ...readout),
    ),
    named(
      "dilation and even filters",
      [1, 12, 12],
      serial(
        conv({ filter: 4, ...bias }),
        relu(),
        conv({ filter: [2, 3], dilation: [3, 2], ...plain }),
        relu(),
        ...readout,
      ),
    ),
    named("a filter larger than its map", [1, 5, 4], serial(conv({ filter: 9, ...plain }), relu(), ...readout)),
    named(
      "maps that grow",
      [1, 4, 5],
      serial(
        conv({ filter: 2, padding: 3, ...plain }),
        relu(),
        conv({ filter: 2, padding: 3, ...bias }),
        relu(),
        ...readout,
      ),
    ),
    named(
      "long lines",
      [1, 7, 53],
      serial(conv({ filter: 7, ...bias }), relu(), conv({ filter: 3, ...plain }), relu(), ...readout),
    ),
    named(
      "linear layers only",
      [1, 6, 6],
      serial(conv({ filter: 3, ...plain }), conv({ filter: 3, ...bias }), ...readout),
    ),
    named(
      "sums behind the relu",
      [1, 9, 12],
      serial(repeat(3, sum(identity(), serial(conv({ filter: 4, ...bias }), relu()))), conv({ filter: 3 }), ...readout),
    ),
    named(
      "residual blocks, projected and strided",
      [3, 13, 10],
      serial(
        conv({ filter: 3, ...plain }),
        resnetBlock({ projection: true }),
        resnetBlock(),
        resnetBlock({ projection: true, stride: 2 }),
        resnetBlock(),
        conv({ filter: [7, 5], padding: "valid", ...plain }),
        relu(),
        conv({ filter: 1 }),
      ),
    ),
    named(
      "branches that read the input of the sum late",
      [2, 8, 8],
      serial(
        conv({ filter: 3, ...bias }),
        sum(
          serial(conv({ filter: 3, ...plain }), relu()),
          identity(),
          sum(identity(), serial(relu(), conv({ filter: [2, 3], ...bias }))),
          relu(),
        ),
        ...readout,
      ),
    ),
    named(
      "a mixture of all nonlinearities",
      [1, 7, 9],
      serial(
        conv({ filter: 3, ...bias }),
        mixture([0.125, 0.125, 0.25, 0.25, 0.25], identity(), relu(), abs(), leakyRelu({ slope: 0.3 }), erf()),
        conv({ filter: 3, ...bias }),
        erf(),
        conv({ filter: 2, ...plain }),
        leakyRelu({ slope: 0.01 }),
        conv({ filter: 3, ...bias }),
        abs(),
        ...readout,
      ),
    ),
    named(
      "erf without biases, strided",
      [3, 11, 8],
      serial(
        conv({ filter: 5, stride: 2, weightVariance: 0.05 }),
        erf(),
        conv({ filter: 3, ...plain }),
        erf(),
        ...readout,
      ),
    ),
    named(
      "steps",
      [1, 8, 8],
      serial(conv({ filter: 3, ...plain }), step(), conv({ filter: 3, ...bias }), step({ sqrt2: true }), ...readout),
    ),
    named(
      "variances that grow out of float32's range",
      [1, 8, 8],
      serial(
        ...Array.from({ length: 10 }, () => [
          conv({ filter: 3, weightVariance: 30_000, biasVariance: 9 }),
          relu(),
        ]).flat(),
        ...readout,
      ),
    ),
  ];
}

/**
 * `count` images of the program, one after the other: pixels in [0, 1), about half of them blank. Of four or more, the
 * second is wholly blank (no variance anywhere) and the fourth is the third with one pixel changed by a hair (cosines
 * close to 1).
 */
export function testImages({ program }: TestProgram, random: RandomStream, count: number): Float32Array<ArrayBuffer> {
  const floats = program.imageFloats;
  const images = new Float32Array(count * floats).map(() => Math.max(0, 2 * random.uniform32() - 1));
  if (count < 4) return images;
  images.fill(0, floats, 2 * floats);
  images.copyWithin(3 * floats, 2 * floats, 3 * floats);
  images[3 * floats] = (images[3 * floats] ?? 0) + 2 ** -10;
  return images;
}
