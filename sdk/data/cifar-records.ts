/**
 * What both versions of CIFAR-10 and CIFAR-100 hold: images of 3 x 32 x 32 bytes, red, green and blue planes, with labels.
 * CIFAR-100 has two of them an image, one of 20 superclasses ("coarse") and one of 100 classes ("fine"): the latter counts.
 */
import { WidefieldError } from "../errors.ts";

export const CIFAR_SHAPE = { channels: 3, height: 32, width: 32 } as const;
export const IMAGE_BYTES = 3 * 32 * 32;

export interface Records {
  readonly labels: Uint8Array;
  /** count x 3 x 32 x 32. */
  readonly pixels: Uint8Array;
}

/** What tells the files of CIFAR-10 and of CIFAR-100 apart. */
export interface CifarFormat {
  readonly classes: number;
  /** Bytes before an image in the binary version; the last of them is the label. */
  readonly labelBytes: 1 | 2;
  /** What the dict of the Python version calls the labels, and all that it may have. */
  readonly labelsKey: "labels" | "fine_labels";
  readonly keys: readonly string[];
  /** Images of a published file. */
  readonly records: { readonly train: number; readonly test: number };
}

export const CIFAR_10: CifarFormat = {
  classes: 10,
  labelBytes: 1,
  labelsKey: "labels",
  keys: ["data", "labels", "batch_label", "filenames"],
  records: { train: 10_000, test: 10_000 },
};

export const CIFAR_100: CifarFormat = {
  classes: 100,
  labelBytes: 2,
  labelsKey: "fine_labels",
  keys: ["data", "fine_labels", "coarse_labels", "batch_label", "filenames"],
  records: { train: 50_000, test: 10_000 },
};

/** Throws E_DATA with the record where a label is not in 0..classes-1. */
export function requireLabel(label: unknown, record: number, path: string, classes: number): number {
  if (typeof label === "number" && label >= 0 && label < classes) return label;
  const shown = typeof label === "number" ? String(label) : "no number";
  throw new WidefieldError("E_DATA", `${path}: record ${record} has label ${shown}; labels are 0 to ${classes - 1}`, {
    details: { path, record, label: typeof label === "number" ? label : undefined },
  });
}
