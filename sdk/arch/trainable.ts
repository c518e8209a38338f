/**
 * Architectures of "Deep Learning as a Mixed Convex-Combinatorial Optimization Problem" (Friesen and Domingos, ICLR 2018),
 * as functions of the activation: networks that are trained. All widths are given.
 */
import type { ImageShape } from "../data/dataset.ts";
import { WidefieldError } from "../errors.ts";
import { batchNorm, conv, dense, dropout, flatten, globalAvgPool, identity, maxPool, relu } from "./arch.ts";
import { serial, sum, type Arch } from "./arch.ts";
import type { Initialiser } from "./initialisers.ts";
import { shapeOf } from "./image-set.ts";
import { formatShape, isImage, type Layer, type Shape } from "./layer.ts";

export const trainableNames = ["convnet4", "convnet8", "alexnet_drf", "resnet18"] as const;
export type TrainableName = (typeof trainableNames)[number];

export interface TrainableOptions {
  /** Of one input: [channels, height, width], or a dataset's `shape`. */
  readonly input: Shape | ImageShape;
  /** Default 10. */
  readonly classes?: number | undefined;
  /** The layer behind every hidden layer; default `relu()`. */
  readonly activation?: Layer | undefined;
  /**
   * Whether there is batch norm, for convnet4 (default false) and convnet8 (default true; without it its convolutions have
   * biases). The other two are never without.
   */
  readonly batchNorm?: boolean | undefined;
}

interface Settings {
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly classes: number;
  readonly activation: Layer;
  readonly batchNorm: boolean | undefined;
}

const makers: Readonly<Record<TrainableName, (settings: Settings) => Arch>> = {
  convnet4: makeConvnet4,
  convnet8: makeConvnet8,
  alexnet_drf: makeAlexnet,
  resnet18: makeResnet18,
};

/**
 * An architecture by name, its activation in place of every nonlinearity.
 *
 * Throws E_CONFIG for a name that is none, for sizes of images that the architecture is not made for, and where it has no
 * form without batch norm.
 */
export function trainableArch(
  name: string,
  { input, classes = 10, activation = relu(), batchNorm }: TrainableOptions,
): Arch {
  const known = trainableNames.find((each) => each === name);
  if (known === undefined)
    throw new WidefieldError(
      "E_CONFIG",
      `no network is named "${name}": there are ${trainableNames.join(", ")}, and any JSON file of an architecture`,
    );
  const shape = shapeOf(input);
  if (!isImage(shape))
    throw new WidefieldError("E_SHAPE", `${name} takes images of [channels, height, width], not ${formatShape(shape)}`);
  return makers[known]({ shape, classes, activation, batchNorm });
}

/** How such a network is drawn before training: a residual one by its convolutions' fan-out, others as in PyTorch. */
export function trainableInit(name: TrainableName): Initialiser {
  return name === "resnet18" ? "heFanOut" : "pytorch";
}

/** Layers one after the other, those that are not there left out. */
function chain(...layers: readonly (Layer | undefined)[]): Arch {
  return serial(...layers.filter((layer) => layer !== undefined));
}

function makeConvnet4({ classes, activation, batchNorm: normalised = false }: Settings): Arch {
  const norm = normalised ? batchNorm() : undefined;
  return chain(
    ...[conv({ filter: 5, padding: 3, channels: 32, bias: true }), maxPool({ window: 2 }), activation],
    ...[conv({ filter: 5, padding: 2, channels: 64, bias: true }), maxPool({ window: 2 }), activation, norm],
    ...[flatten(), dense({ units: 1024, bias: true }), activation, norm],
    dense({ units: classes, bias: true }),
  );
}

/** The epsilon of batch norm in the networks of DoReFa (Zhou et al. 2016), which these two are. */
const DOREFA_EPSILON = 1e-4;

/**
 * DoReFa's network for house numbers: in each layer a convolution, batch norm, a pool where there is one, and the
 * activation. Images of 40 pixels are taken without a border, ones of 32 with one of 2.
 */
function makeConvnet8({ shape, classes, activation, batchNorm: normalised = true }: Settings): Arch {
  const [, height, width] = shape;
  if (height !== width || (height !== 40 && height !== 32))
    throw new WidefieldError(
      "E_CONFIG",
      `convnet8 takes images of 40 x 40 or 32 x 32 pixels, not ${height} x ${width}: resize them`,
    );
  const layer = (channels: number, filter: number, padding: number, pooled = false): (Layer | undefined)[] => [
    conv({ filter, padding, channels, bias: !normalised }),
    normalised ? batchNorm({ epsilon: DOREFA_EPSILON }) : undefined,
    pooled ? maxPool({ window: 2 }) : undefined,
    activation,
  ];
  return chain(
    ...[
      conv({ filter: 5, padding: height === 40 ? 0 : 2, channels: 48, bias: true }),
      maxPool({ window: 2 }),
      activation,
    ],
    ...layer(64, 3, 1),
    ...layer(64, 3, 1, true),
    ...layer(128, 3, 0),
    ...layer(128, 3, 1),
    ...layer(128, 3, 0),
    dropout({ rate: 0.5, perChannel: true }),
    ...layer(512, height === 40 ? 5 : 4, 0),
    ...[flatten(), dense({ units: classes, bias: true })],
  );
}

/** DoReFa's AlexNet, without groups: no biases but the read-out's, batch norm in all layers but the first and the last. */
function makeAlexnet({ shape, classes, activation, batchNorm: normalised = true }: Settings): Arch {
  requireNorm("alexnet_drf", normalised);
  const [, height, width] = shape;
  if (height !== 224 || width !== 224)
    throw new WidefieldError("E_CONFIG", `alexnet_drf takes images of 224 x 224 pixels, not ${height} x ${width}`);
  const norm = batchNorm({ epsilon: DOREFA_EPSILON });
  const pool = (padding: number): Layer => maxPool({ window: 3, stride: 2, padding });
  return serial(
    ...[conv({ filter: 12, stride: 4, padding: "valid", channels: 96 }), activation],
    ...[conv({ filter: 5, padding: 2, channels: 256 }), norm, pool(1), activation],
    ...[conv({ filter: 3, padding: 1, channels: 384 }), norm, pool(0), activation],
    ...[conv({ filter: 3, padding: 1, channels: 384 }), norm, activation],
    ...[conv({ filter: 3, padding: 1, channels: 256 }), norm, pool(0), activation],
    flatten(),
    ...[dense({ units: 4096 }), norm, activation],
    ...[dense({ units: 4096 }), norm, activation],
    dense({ units: classes, bias: true }),
  );
}

/** Below this many pixels a residual network begins as for CIFAR, without the stem that makes 56 of 224. */
const STEM_PIXELS = 64;

/**
 * ResNet-18 (He et al. 2016) in torchvision's order: batch norm behind every convolution, the activation behind the first
 * batch norm of a block and behind its sum. For small images the stem is one 3 x 3 convolution, without a pool.
 */
function makeResnet18({ shape, classes, activation, batchNorm: normalised = true }: Settings): Arch {
  requireNorm("resnet18", normalised);
  const norm = batchNorm();
  const small = Math.max(shape[1], shape[2]) < STEM_PIXELS;
  const stem = small
    ? [conv({ filter: 3, padding: 1, channels: 64 }), norm, activation]
    : [
        ...[conv({ filter: 7, stride: 2, padding: 3, channels: 64 }), norm, activation],
        maxPool({ window: 3, stride: 2, padding: 1 }),
      ];
  const block = (channels: number, stride: number, projected: boolean): Layer[] => {
    const first = conv({ filter: 3, stride, padding: 1, channels });
    const second = conv({ filter: 3, padding: 1, channels });
    const skip = projected ? serial(conv({ filter: 1, stride, padding: 0, channels }), norm) : identity();
    return [sum(serial(first, norm, activation, second, norm), skip), activation];
  };
  const stage = (channels: number, index: number): Layer[] => [
    ...block(channels, index === 0 ? 1 : 2, index > 0),
    ...block(channels, 1, false),
  ];
  return serial(...stem, ...[64, 128, 256, 512].flatMap(stage), globalAvgPool(), dense({ units: classes, bias: true }));
}

function requireNorm(name: TrainableName, normalised: boolean): void {
  if (!normalised)
    throw new WidefieldError(
      "E_CONFIG",
      `${name} has batch norm in its layers, and no form without: leave batchNorm out, or say true (--use-bn)`,
    );
}
