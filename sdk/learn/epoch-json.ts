/** The numbers of epochs as JSON: in checkpoints and in logs of metrics. */
import * as z from "zod";
import type { EpochRecord } from "./training-state.ts";

/** JSON has no word for some numbers, and a set without examples has a loss of NaN. */
export const numberSchema = z.union([z.number(), z.enum(["NaN", "Infinity", "-Infinity"]).transform(Number)]);

export const scoresSchema = z.strictObject({
  loss: numberSchema,
  accuracy: numberSchema.optional(),
  top5: numberSchema.optional(),
  count: z.int().nonnegative(),
});

export const epochSchema: z.ZodType<EpochRecord> = z.strictObject({
  epoch: z.int().positive(),
  step: z.int().nonnegative(),
  rate: numberSchema,
  training: scoresSchema,
  validation: scoresSchema.optional(),
  test: scoresSchema.optional(),
  seconds: numberSchema,
  examplesPerSecond: numberSchema,
});

/** JSON text in which every number is what it was, as `numberSchema` reads it. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === "number" && !Number.isFinite(part) ? String(part) : part,
  );
}
