/** Architectures that papers published, by name. */
import { closest, distance } from "fastest-levenshtein";
import { WidefieldError } from "../errors.ts";
import { avgPool, conv, dense, flatten, globalAvgPool, identity, relu, repeat, resnet } from "./arch.ts";
import { serial, sum, type Arch } from "./arch.ts";
import type { Shape } from "./layer.ts";
import { trainableArch, type TrainableName } from "./trainable.ts";

export interface Preset {
  /** One line on what it is and where it comes from. */
  readonly summary: string;
  /** The inputs that it was made for; others may fit. */
  readonly input: Shape;
  readonly make: () => Arch;
}

const MNIST = [1, 28, 28] as const;
const CIFAR = [3, 32, 32] as const;

/** Three groups of 3 x 3 layers, a pool behind each, and two more: Shankar et al. 2020, figure 1. */
function myrtle(layers: number, groups: readonly [number, number, number]): Preset {
  return {
    summary: `the Myrtle network of Shankar et al. 2020 with ${layers} layers of weights, average pooling`,
    input: CIFAR,
    make: () => {
      const layer = serial(conv({ filter: 3 }), relu());
      const pool = avgPool({ window: 2 });
      const [first, second, third] = groups.map((times) => serial(...Array.from({ length: times }, () => layer), pool));
      const parts = [first, second, third].flatMap((part) => (part === undefined ? [] : [part]));
      return serial(...parts, pool, pool, flatten(), dense());
    },
  };
}

/** Arora et al. 2019: `depth` 3 x 3 layers, whose weights make up for the relu's halving, and a read-out. */
function cntk(depth: number, pooled: boolean): Preset {
  return {
    summary: `the ${depth}-layer CNN of Arora et al. 2019, read out by ${pooled ? "global average pooling" : "flatten"}`,
    input: CIFAR,
    make: () => {
      const layer = serial(conv({ filter: 3, weightVariance: 2 }), relu());
      return serial(repeat(depth, layer), pooled ? globalAvgPool() : flatten(), dense());
    },
  };
}

/** A network that is trained, with relus. */
function trained(name: TrainableName, summary: string, input: Shape, classes = 10): Preset {
  return { summary, input, make: () => trainableArch(name, { input, classes }) };
}

const PAPER = "of Friesen and Domingos 2018, with relus";
const IMAGENET = [3, 224, 224] as const;

/** Networks that are trained, and have no kernel: `trainableArch` makes them with other activations. */
const trainables: Readonly<Record<string, Preset>> = {
  convnet4: trained("convnet4", `the four-layer network for CIFAR-10 ${PAPER}`, CIFAR),
  convnet8: trained("convnet8", `DoReFa's eight-layer network for CIFAR-10 ${PAPER}`, CIFAR),
  "convnet8-40": trained("convnet8", `the same network for images of 40 pixels, as of SVHN`, [3, 40, 40]),
  alexnet_drf: trained("alexnet_drf", `DoReFa's AlexNet for ImageNet ${PAPER}`, IMAGENET, 1000),
  resnet18: trained("resnet18", `the residual network of 18 layers for ImageNet ${PAPER}`, IMAGENET, 1000),
  "resnet18-cifar": trained("resnet18", "the residual network of 18 layers for CIFAR-10", CIFAR),
};

const presets: Readonly<Record<string, Preset>> = {
  "convnet-gp": {
    summary: "the ConvNet GP of Garriga-Alonso et al. 2019, table 1: seven 7 x 7 layers",
    input: MNIST,
    make: () => {
      const [weightVariance, biasVariance] = [2.79, 7.86];
      const layer = [conv({ filter: 7, weightVariance: weightVariance * 49, biasVariance }), relu()];
      return serial(repeat(7, serial(...layer)), flatten(), dense({ weightVariance, biasVariance }));
    },
  },
  /** As published, its sums follow the nonlinearity, whose outputs have a mean: no finite network converges to it. */
  "residual-cnn-gp": {
    summary: "the residual CNN GP of Garriga-Alonso et al. 2019, table 1: nine 4 x 4 layers, summed behind the relu",
    input: MNIST,
    make: () => {
      const [weightVariance, biasVariance] = [7.27, 4.69];
      const layer = [conv({ filter: 4, weightVariance: weightVariance * 16, biasVariance }), relu()];
      const block = sum(identity(), serial(...layer));
      return serial(repeat(8, block), ...layer, flatten(), dense({ weightVariance, biasVariance }));
    },
  },
  "resnet32-gp": {
    summary: "the ResNet GP of Garriga-Alonso et al. 2019, table 1: 32 layers, 3 x 3 filters",
    input: MNIST,
    make: () =>
      serial(
        resnet({ depth: 32 }),
        conv({ filter: 7, padding: "valid", widthFactor: 4 }),
        relu(),
        conv({ filter: 1, padding: "valid" }),
      ),
  },
  "cifar-resnet32-gp": {
    summary: "the same network for CIFAR-10",
    input: [3, 32, 32],
    make: () =>
      serial(
        resnet({ depth: 32 }),
        conv({ filter: 8, padding: "valid", widthFactor: 4 }),
        conv({ filter: 1, padding: "valid", widthFactor: 4 }),
        relu(),
        conv({ filter: 1, padding: "valid" }),
      ),
  },
  myrtle5: myrtle(5, [2, 1, 1]),
  myrtle7: myrtle(7, [2, 2, 2]),
  myrtle10: myrtle(10, [3, 3, 3]),
  /** Variances of this one are for the sum over a filter's taps, not their mean, hence the factors of 25 and 4. */
  "lenet-like": {
    summary: "the LeNet-like network of Garriga-Alonso et al. 2019's architecture search, all variances 1",
    input: MNIST,
    make: () => {
      const large = conv({ filter: 5, padding: "valid", weightVariance: 25, biasVariance: 1 });
      const small = conv({ filter: 2, padding: "same-tf", weightVariance: 4, biasVariance: 1 });
      const gain = relu({ sqrt2: true });
      return serial(large, gain, small, gain, large, gain, small, gain, flatten(), dense({ biasVariance: 1 }));
    },
  },
};

/** Presets of any depth, by the name in front of it: "cntk-gap-14". */
const families: Readonly<Record<string, (depth: number) => Preset>> = {
  "cntk-gap": (depth) => cntk(depth, true),
  "cntk-vanilla": (depth) => cntk(depth, false),
};

/** Depths of families that are listed; any other from 1 to this will do. */
const LISTED_DEPTHS = [11, 14, 21];
const DEEPEST = 1000;

/** Presets that have a kernel. */
export const presetNames: readonly string[] = [
  ...Object.keys(presets),
  ...Object.keys(families).flatMap((family) => LISTED_DEPTHS.map((depth) => `${family}-${depth}`)),
];

/** Presets of networks that are trained, which have none. */
export const trainablePresetNames: readonly string[] = Object.keys(trainables);

/** Throws E_CONFIG for a name that is not a preset, with the nearest one. */
export function presetEntry(name: string): Preset {
  const known = { ...presets, ...trainables };
  const entry = Object.hasOwn(known, name) ? known[name] : ofFamily(name);
  if (entry !== undefined) return entry;
  const nearest = closest(name, [...presetNames, ...trainablePresetNames]);
  const near = distance(name, nearest) <= Math.max(2, nearest.length / 2) ? `did you mean "${nearest}"? ` : "";
  throw new WidefieldError(
    "E_CONFIG",
    `there is no preset "${name}"; ${near}presets are ${presetNames.join(", ")} (cntk-gap-N and cntk-vanilla-N for any ` +
      `depth N from 1 to ${DEEPEST}), ${trainablePresetNames.join(", ")} (to be trained, without a kernel), or give a JSON file`,
  );
}

/** "cntk-gap-14": the preset of a family with a depth. */
function ofFamily(name: string): Preset | undefined {
  const match = /^(.+)-(\d+)$/.exec(name);
  const [, family = "", digits] = match ?? [];
  const depth = Number(digits);
  if (!Object.hasOwn(families, family) || !(depth >= 1 && depth <= DEEPEST)) return undefined;
  return families[family]?.(depth);
}

/** The architecture of a preset. Throws E_CONFIG for a name that is not one, with the nearest that is. */
export function preset(name: string): Arch {
  return presetEntry(name).make();
}
