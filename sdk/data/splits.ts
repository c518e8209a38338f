/**
 * Training, validation and test images of a dataset, as the published training scripts split them: MNIST's last sixth and
 * CIFAR's last fifth of the training images validate, unshuffled; of SVHN and ImageNet a tenth does, drawn at random.
 */
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";

/** What of a dataset a split needs; `Dataset` and `ImageFolder` have it. */
export interface CountedImages {
  readonly trainCount: number;
  readonly testCount: number;
}

export interface SplitOptions {
  /** False: all training images train, none validate. */
  readonly validation: boolean;
  /** Of the draw, where the validation images are drawn. */
  readonly seed: number;
  /** Only the first so many of the images that would train do; validation and test images stay as they are. */
  readonly limit?: number | undefined;
}

/** Indices into the dataset. */
export interface TrainingSplit {
  readonly train: Uint32Array<ArrayBuffer>;
  readonly validation: Uint32Array<ArrayBuffer>;
  readonly test: Uint32Array<ArrayBuffer>;
}

interface SplitRule {
  /** Of the training images; the number of validation images is rounded down. */
  readonly fraction: number;
  readonly shuffled: boolean;
}

const LAST_SIXTH: SplitRule = { fraction: 1 / 6, shuffled: false };
const LAST_FIFTH: SplitRule = { fraction: 1 / 5, shuffled: false };
const ANY_TENTH: SplitRule = { fraction: 1 / 10, shuffled: true };

const RULES: Readonly<Record<string, SplitRule>> = {
  mnist: LAST_SIXTH,
  fmnist: LAST_SIXTH,
  notmnist: LAST_SIXTH,
  digits: LAST_SIXTH,
  cifar10: LAST_FIFTH,
  cifar100: LAST_FIFTH,
  svhn: ANY_TENTH,
  imagenet: ANY_TENTH,
};

/**
 * The split of a dataset by its name. Names that the papers do not train on are split as SVHN is: a tenth, drawn, which
 * does not mind an order of the files.
 *
 * @throws WidefieldError E_CONFIG for a limit that is no positive integer
 */
export function trainingSplit(
  name: string,
  { trainCount, testCount }: CountedImages,
  options: SplitOptions,
): TrainingSplit {
  const { validation, seed, limit = Infinity } = options;
  if (limit !== Infinity && (!Number.isInteger(limit) || limit < 1))
    throw new WidefieldError("E_CONFIG", `the limit on training images must be a positive integer, not ${limit}`);
  const { fraction, shuffled } = (Object.hasOwn(RULES, name) ? RULES[name] : undefined) ?? ANY_TENTH;
  // A sixth of 60,000 is 10,000 whichever way 1 / 6 is rounded.
  const held = validation ? Math.floor(trainCount * fraction + 1e-6) : 0;
  const order = Uint32Array.from({ length: trainCount }, (_, image) => image);
  // Drawn also where nothing validates: the first of a limit would all be of one class where files are sorted by class.
  if (shuffled) new RandomStream(seed, "validation").shuffle(order);
  const kept = trainCount - held;
  return {
    train: order.slice(0, Math.min(kept, limit)),
    validation: order.slice(kept),
    test: Uint32Array.from({ length: testCount }, (_, image) => trainCount + image),
  };
}
