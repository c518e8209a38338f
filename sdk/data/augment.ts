/**
 * Augmentation: which part of an image a training step sees, and whether mirrored. What is drawn for an image depends on
 * the seed, the epoch and the image's number in its dataset, on nothing else: not on how many workers prepare batches,
 * how large these are, or whether the run was resumed.
 */
import { RandomStream } from "../engine/rng.ts";

export interface Augmentation {
  /**
   * Black pixels on every side, out of which a part of the image's own size is cut at random. Padding comes before
   * normalisation, as in torchvision's RandomCrop, ToTensor, Normalize: the border is (0 - mean) / std, not 0.
   */
  readonly padding: number;
  /** Whether half of all images are mirrored, left to right. */
  readonly flip: boolean;
}

/** CIFAR: padding 4 and flips. Digits, whose place and sense mean something, stay as they are, and so does all else. */
export function augmentationOf(name: string): Augmentation | undefined {
  return name === "cifar10" || name === "cifar100" ? { padding: 4, flip: true } : undefined;
}

/** Where a part is cut out of a padded image, and whether it is mirrored. */
export interface Cut {
  /** Row and column of the padded image, or of one that is larger than the part. */
  readonly top: number;
  readonly left: number;
  readonly mirrored: boolean;
}

/** Epochs below 2^21: an epoch and an image's number make one index of a random stream's family. */
const IMAGES = 2 ** 32;

/**
 * The cut of one image in one epoch. `rows`, `columns`: by how much the padded image is larger than the part; each
 * place is equally likely. Three words of the stream "augment" of the seed with index epoch 2^32 + image (rarely more).
 */
export function drawCut(
  seed: number,
  epoch: number,
  image: number,
  range: { readonly rows: number; readonly columns: number; readonly flip: boolean },
): Cut {
  const stream = new RandomStream(seed, "augment", epoch * IMAGES + image);
  const top = stream.below(range.rows + 1);
  const left = stream.below(range.columns + 1);
  return { top, left, mirrored: range.flip && stream.below(2) === 1 };
}
