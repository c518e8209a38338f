/** Pieces that several layers' JSON schemas share. */
import * as z from "zod";
import { WidefieldError } from "../errors.ts";

/** What a schema makes of a value. Throws E_CONFIG, a line for each issue, each with its place. */
export function parse<S extends z.ZodType>(schema: S, value: unknown, path: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => [[path, ...issue.path].join("."), issue.message].join(": "));
  throw new WidefieldError("E_CONFIG", lines.join("\n"), { details: { path } });
}

/** Kernels of a few layers stay in float64's range, and so do the factors between layers. */
export const SMALLEST = 1e-100;
const LARGEST = 1e100;

/** A variance: 0, or from 1e-100 to 1e100. */
export function varianceSchema(name: string) {
  return z
    .number(`${name} is a number`)
    .min(0, `${name} is a variance and must not be negative`)
    .max(LARGEST, `${name} must be at most ${LARGEST}`)
    .refine((value) => value === 0 || value >= SMALLEST, `${name} must be 0 or at least ${SMALLEST}`);
}

/** A number of channels or units. Only finite networks use it. */
export function widthSchema(name: string): z.ZodInt {
  return z.int(`${name} is a whole number`).min(1, `${name} must be at least 1`);
}

/** Whether a finite layer has biases; default: where their variance is not 0. Those of variance 0 are 0 in the prior, and learnt. */
export const biasSchema = z.boolean("bias is true or false").optional();

interface Biased {
  readonly biasVariance: number;
  readonly bias?: boolean | undefined;
}

export function hasBias({ biasVariance, bias = biasVariance > 0 }: Biased): boolean {
  return bias;
}

/** Settings in their one JSON form, which has `bias` only where it says something; none with a variance is a contradiction. */
export function plainBias<T extends Biased>(
  { bias, ...rest }: T,
  context: z.RefinementCtx,
): Omit<T, "bias"> & { bias?: true } {
  if (bias === false && rest.biasVariance > 0)
    context.addIssue({
      code: "custom",
      message: `bias is false, and biasVariance is ${rest.biasVariance}`,
      path: ["bias"],
    });
  return bias === true && rest.biasVariance === 0 ? { ...rest, bias } : rest;
}

/** Pixels: more than any image has, and few enough for 32 bits. */
export const LONGEST = 65_535;

/** One whole number from 1 to 65,535 for both axes, or [vertical, horizontal]. */
export function pairSchema(name: string) {
  const one = z.int().min(1, `${name} must be at least 1`).max(LONGEST, `${name} must be at most ${LONGEST}`);
  return z
    .union([one, z.tuple([one, one])], `${name} is a positive whole number, or [vertical, horizontal]`)
    .transform((value): [number, number] => (typeof value === "number" ? [value, value] : value));
}

/** The JSON form of a layer that is made of layers, before those are read. */
export function branchesSchema<T extends string>(type: T) {
  const layers = z.array(z.unknown(), "layers is a list of layers").min(1, "layers must hold at least one layer");
  return z.strictObject({ type: z.literal(type), layers });
}
