/** Pieces that several layers' JSON schemas share. */
import * as z from "zod";

/** A variance: finite and not negative. */
export function varianceSchema(name: string): z.ZodNumber {
  return z.number(`${name} is a number`).min(0, `${name} is a variance and must not be negative`);
}

/** A number of channels or units. Only finite networks use it. */
export function widthSchema(name: string): z.ZodInt {
  return z.int(`${name} is a whole number`).min(1, `${name} must be at least 1`);
}

/** One whole number for both axes, or [vertical, horizontal]. */
export function pairSchema(name: string) {
  const one = z.int().min(1, `${name} must be at least 1`);
  return z
    .union([one, z.tuple([one, one])], `${name} is a positive whole number, or [vertical, horizontal]`)
    .transform((value): [number, number] => (typeof value === "number" ? [value, value] : value));
}
