/** What both versions of CIFAR-10 hold: images of 3 x 32 x 32 bytes, red, green and blue planes, with labels 0 to 9. */
import { WidefieldError } from "../errors.ts";

export const CIFAR_SHAPE = { channels: 3, height: 32, width: 32 } as const;
export const IMAGE_BYTES = 3 * 32 * 32;

export interface Records {
  readonly labels: Uint8Array;
  /** count x 3 x 32 x 32. */
  readonly pixels: Uint8Array;
}

/** Throws E_DATA with the record where a label is not in 0..9. */
export function requireLabel(label: unknown, record: number, path: string): number {
  if (typeof label === "number" && label >= 0 && label < 10) return label;
  const shown = typeof label === "number" ? String(label) : "no number";
  throw new WidefieldError("E_DATA", `${path}: record ${record} has label ${shown}; labels are 0 to 9`, {
    details: { path, record, label: typeof label === "number" ? label : undefined },
  });
}
