/**
 * Normalisation: (value - mean) / std for each channel, value in [0, 1] where images are bytes. The constants are those
 * of the published training scripts, not measured anew, so that results can be compared; each is known to as many
 * digits as the scripts give.
 */
import { WidefieldError } from "../errors.ts";
import type { ImageShape } from "./dataset.ts";

export interface Normalisation {
  /** One for each channel. */
  readonly mean: readonly number[];
  /** One for each channel, positive. */
  readonly std: readonly number[];
}

const CIFAR: Normalisation = {
  mean: [0.49139968, 0.48215841, 0.44653091],
  std: [0.24703223, 0.24348513, 0.26158784],
};

const CONSTANTS: Readonly<Record<string, Normalisation>> = {
  mnist: { mean: [0.1307], std: [0.3081] },
  cifar10: CIFAR,
  cifar100: CIFAR,
  svhn: { mean: [0.4309, 0.4302, 0.4463], std: [0.1965, 0.1983, 0.1994] },
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
};

/** The constants of a dataset by its name; undefined where none are published, and images stay as they are. */
export function normalisationOf(name: string): Normalisation | undefined {
  return Object.hasOwn(CONSTANTS, name) ? CONSTANTS[name] : undefined;
}

/**
 * Refuses constants that cannot be applied to images of this shape.
 *
 * @throws WidefieldError E_SHAPE for another number of channels; E_CONFIG for numbers that are not finite, or a standard
 *   deviation that is not positive
 */
export function requireNormalisation({ mean, std }: Normalisation, { channels }: ImageShape, name: string): void {
  if (mean.length !== channels || std.length !== channels) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: its images have ${channels} channels, and the normalisation has ${mean.length} means and ${std.length} ` +
        "standard deviations: give one of each for every channel",
    );
  }
  if (!mean.every(Number.isFinite) || !std.every((value) => Number.isFinite(value) && value > 0)) {
    throw new WidefieldError(
      "E_CONFIG",
      `${name}: a normalisation needs finite means and positive standard deviations, not ${mean.join(", ")} and ${std.join(", ")}`,
    );
  }
}

/** What every byte becomes, [channels, 256]: (byte / 255 - mean) / std in float64, rounded once. */
export function byteTables({ mean, std }: Normalisation): readonly Float32Array<ArrayBuffer>[] {
  return mean.map((centre, channel) => {
    const scale = std[channel] ?? NaN;
    return Float32Array.from({ length: 256 }, (_, byte) => (byte / 255 - centre) / scale);
  });
}

/** Leaves images as they are. */
export function identityNormalisation(channels: number): Normalisation {
  return { mean: new Array<number>(channels).fill(0), std: new Array<number>(channels).fill(1) };
}
