/**
 * The laws that a network's weights and biases are drawn from before training. Fans of a convolution count its taps:
 * fan-in = channels in x height x width of the filter, fan-out = channels out x height x width.
 */
import * as z from "zod";
import { WidefieldError } from "../errors.ts";

/**
 * Of one kind of parameter:
 *
 *     "prior"          N(0, weightVariance / fan-in), biases N(0, biasVariance): the prior whose limit is the kernel's
 *     "pytorch"        uniform on +-1 / sqrt(fan-in), biases too: PyTorch's Conv2d and Linear
 *     "xavier"         uniform on +-sqrt(6 / (fan-in + fan-out))  (Glorot and Bengio 2010, eq. 16)
 *     "xavierNormal"   N(0, 2 / (fan-in + fan-out))
 *     "he"             N(0, 2 / fan-in)  (He et al. 2015, eq. 10)
 *     "heFanOut"       N(0, 2 / fan-out) in convolutions, as residual networks take it, else PyTorch's
 *     { normal: s }    N(0, s^2)
 *     { constant: c }  c
 */
export type Law =
  | "prior"
  | "pytorch"
  | "xavier"
  | "xavierNormal"
  | "he"
  | "heFanOut"
  | { readonly normal: number }
  | { readonly constant: number };

/**
 * One law for all weights, or one for each kind of layer (default PyTorch's), and one for biases. Biases without a law of
 * their own are the prior's with "prior", PyTorch's with "pytorch" and "heFanOut" or where several laws are given, and
 * else 0.
 */
export type Initialiser =
  Law | { readonly conv?: Law | undefined; readonly dense?: Law | undefined; readonly bias?: Law | undefined };

/** What a law depends on. */
export interface Fans {
  readonly layer: "conv" | "dense";
  readonly role: "weights" | "bias";
  /** Of the layer's weights, for its bias too. */
  readonly fanIn: number;
  readonly fanOut: number;
}

/** A distribution that every number of a parameter is drawn from. */
export type Distribution =
  | { readonly kind: "normal"; readonly deviation: number }
  | { readonly kind: "uniform"; readonly bound: number }
  | { readonly kind: "constant"; readonly value: number };

const lawSchema = z.union([
  z.enum(["prior", "pytorch", "xavier", "xavierNormal", "he", "heFanOut"]),
  z.strictObject({ normal: z.number().min(0) }),
  z.strictObject({ constant: z.number() }),
]);
const initialiserSchema = z.union([
  lawSchema,
  z
    .strictObject({ conv: lawSchema.optional(), dense: lawSchema.optional(), bias: lawSchema.optional() })
    .refine((laws) => Object.keys(laws).length > 0),
]);

/** Throws E_CONFIG for what is no initialiser. */
export function checkInitialiser(init: Initialiser): Initialiser {
  const { success } = initialiserSchema.safeParse(init);
  if (success) return init;
  throw new WidefieldError(
    "E_CONFIG",
    `init is prior, pytorch, xavier, xavierNormal, he, heFanOut, { normal: deviation }, { constant: value }, or one of ` +
      `these for each of { conv, dense, bias }, not ${JSON.stringify(init)}`,
  );
}

/** What a parameter is drawn from; `deviation`: its prior's. */
export function distributionOf(init: Initialiser, fans: Fans & { readonly deviation: number }): Distribution {
  return distribution(lawOf(init, fans), fans);
}

function lawOf(init: Initialiser, { layer, role }: Fans): Law {
  const one = typeof init === "string" || "normal" in init || "constant" in init ? init : undefined;
  if (one === undefined) {
    const laws = init as Exclude<Initialiser, Law>;
    return (role === "bias" ? laws.bias : laws[layer]) ?? "pytorch";
  }
  if (role === "weights" || one === "prior" || one === "pytorch") return one;
  return one === "heFanOut" ? "pytorch" : { constant: 0 };
}

function distribution(
  law: Law,
  { layer, role, fanIn, fanOut, deviation }: Fans & { readonly deviation: number },
): Distribution {
  if (typeof law !== "string")
    return "normal" in law ? { kind: "normal", deviation: law.normal } : { kind: "constant", value: law.constant };
  switch (law) {
    case "prior":
      return { kind: "normal", deviation };
    case "xavier":
      return { kind: "uniform", bound: Math.sqrt(6 / (fanIn + fanOut)) };
    case "xavierNormal":
      return { kind: "normal", deviation: Math.sqrt(2 / (fanIn + fanOut)) };
    case "he":
      return { kind: "normal", deviation: Math.sqrt(2 / fanIn) };
    case "heFanOut":
      if (layer === "conv" && role === "weights") return { kind: "normal", deviation: Math.sqrt(2 / fanOut) };
      return { kind: "uniform", bound: 1 / Math.sqrt(fanIn) };
    case "pytorch":
      return { kind: "uniform", bound: 1 / Math.sqrt(fanIn) };
  }
}
