/**
 * The rules of feasible target propagation (Friesen and Domingos, "Deep Learning as a Mixed Convex-Combinatorial Optimization
 * Problem", ICLR 2018): what goes through a unit whose activation is a hard threshold, on the way back.
 *
 * A unit with input z, which the gradient g reaches, gets the target t = -sign(g); with m = z t, what goes on to z is
 *
 *     d loss(m) / dz  times  |g|, or divided by the batch size instead    = t loss'(m) |g| = -g loss'(m)
 *
 * and 0 where g is 0, for there is no target. STE, SSTE, SSTEv2 and Ramp have no loss: they carry g itself, times a weight
 * that depends on z. The losses are those of the published program, which has no backward pass for some of them: here each
 * one has the derivative of its loss. At a kink that is the derivative of the flatter side, where the bounds of the rules
 * that carry g, and of a staircase's steps, count as inside.
 *
 * This table says which rule goes with which activation, in float64; `sdk/engine/kernels/target-gradient.ts` computes it.
 */
import { closest, distance } from "fastest-levenshtein";
import { TargetRule, type TargetRuleName } from "../engine/kernels/target-gradient.ts";
import { WidefieldError } from "../errors.ts";

/**
 * Hard activations: `step01` (0 or 1), `step11` (-1 or 1), and a `staircase` of n >= 2 steps of height 1/n at 0, 1/(n-1),
 * .., 1.
 */
export type TargetActivation = "step01" | "step11" | "staircase";

/** Numbers that the kernel takes; the caller adds `scale`: 0 with |g|, else 1 / batch. */
export interface TargetRuleParams {
  /** A code of the kernel. */
  readonly rule: number;
  readonly slope: number;
  readonly low: number;
  readonly high: number;
}

export interface TargetRuleOptions {
  /** Steps n of a staircase. */
  readonly steps?: number;
  /** Whether the derivative is multiplied by |g|; default true. */
  readonly gradScale?: boolean;
}

/** A rule on one activation, in float64: what stands in front of |g| (or of 1 / batch), and what it is the derivative of. */
export interface TargetFunction {
  /** The loss of an input z for the target t = 1 or -1. Undefined where the rule carries g. */
  readonly loss?: (z: number, t: number) => number;
  /** out / |g| for g of the sign -t: d loss / dz; of a rule that carries g, -t times its weight. */
  readonly derivative: (z: number, t: number) => number;
}

/** A rule as the documentation shows it. */
export interface TargetRuleRow {
  readonly name: string;
  /** With m = z t. */
  readonly loss: string;
  readonly activations: readonly TargetActivation[];
  /** False for the rules that carry g itself. */
  readonly allowsNoGradScale: boolean;
}

interface Numbers {
  readonly slope?: number;
  readonly low?: number;
  readonly high?: number;
}

interface Entry {
  readonly text: string;
  /** Single steps that it goes with. */
  readonly steps: readonly ("step01" | "step11")[];
  readonly kernel: TargetRuleName;
  readonly numbers?: Numbers;
  /** The loss of m and its derivative. */
  readonly loss?: (m: number) => number;
  readonly slope?: (m: number) => number;
  /** Of a rule that carries g: the bounds of z for each activation. */
  readonly bounds?: Readonly<Partial<Record<TargetActivation, readonly [low: number, high: number]>>>;
}

const BOTH = ["step01", "step11"] as const;
const SIGNS = ["step11"] as const;

const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);
/** 1 / (1 + e^-x). */
const sigma = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
/** tanh'(x). */
const sech2 = (x: number): number => 4 * sigma(2 * x) * sigma(-2 * x);
const within = (m: number, low: number, high: number): boolean => low < m && m < high;

/** scale sigma(-slope m). */
function sigmoidRule(text: string, scale: number, slope: number): Entry {
  return {
    text,
    steps: SIGNS,
    kernel: "sigmoid",
    numbers: { slope, low: scale },
    loss: (m) => scale * sigma(-slope * m),
    slope: (m) => -scale * slope * sigma(slope * m) * sigma(-slope * m),
  };
}

/** clamp(slope (1 - m), 0, 2) - off. */
function truncatedHinge(text: string, slope: number, steps: Entry["steps"], off = 0): Entry {
  return {
    text,
    steps,
    kernel: "truncatedHinge",
    numbers: { slope },
    loss: (m) => clamp(slope * (1 - m), 0, 2) - off,
    slope: (m) => (within(m, 1 - 2 / slope, 1) ? -slope : 0),
  };
}

/** 1 - tanh(slope m). */
function softHinge(text: string, slope: number): Entry {
  return {
    text,
    steps: BOTH,
    kernel: "softHinge",
    numbers: { slope, low: 1 },
    loss: (m) => 1 - Math.tanh(slope * m),
    slope: (m) => -slope * sech2(slope * m),
  };
}

/** scale log(2 - clamp(m, -1, 1)). */
function logHinge(text: string, scale: number): Entry {
  return {
    text,
    steps: BOTH,
    kernel: "logHinge",
    numbers: { low: scale },
    loss: (m) => scale * Math.log(2 - clamp(m, -1, 1)),
    slope: (m) => (within(m, -1, 1) ? scale / (m - 2) : 0),
  };
}

const logLoss = (m: number): number => Math.max(-m, 0) + Math.log1p(Math.exp(-Math.abs(m)));
/** sqrt(12) / 2: what an interval of variance 1 around 0 reaches. */
const UNIT_VARIANCE = Math.sqrt(12) / 2;
/** Where log(1 + e^-m) is 2. */
const LOG_LOSS_BOUND = -Math.log(Math.E ** 2 - 1);

const RULES = {
  STE: { text: "none: g passes", steps: BOTH, kernel: "ste" },
  SSTE: {
    text: "none: g passes where |z| <= 1 (step01 and staircases: 0 <= z <= 1)",
    steps: BOTH,
    kernel: "sste",
    bounds: { step01: [0, 1], step11: [-1, 1], staircase: [0, 1] },
  },
  SSTEv2: {
    text: "none: g passes where |z| <= sqrt(12) / 2",
    steps: SIGNS,
    kernel: "sste",
    bounds: { step11: [-UNIT_VARIANCE, UNIT_VARIANCE] },
  },
  Ramp: {
    text: "none: g times 1 on [-1, 1] (step01: [0, 1]), falling linearly to 0 over the next unit on each side",
    steps: BOTH,
    kernel: "ramp",
    bounds: { step01: [0, 1], step11: [-1, 1] },
  },
  WtHinge: {
    text: "max(0, 1 - m)",
    steps: BOTH,
    kernel: "hinge",
    loss: (m) => Math.max(0, 1 - m),
    slope: (m) => (m < 1 ? -1 : 0),
  },
  WeightedPerceptron: {
    text: "max(0, -m)",
    steps: SIGNS,
    kernel: "perceptron",
    loss: (m) => Math.max(0, -m),
    slope: (m) => (m < 0 ? -1 : 0),
  },
  Adaline: {
    text: "|t| (z - t)^2 / 2",
    steps: SIGNS,
    kernel: "adaline",
    loss: (m) => (m - 1) ** 2 / 2,
    slope: (m) => m - 1,
  },
  TruncWtHinge: truncatedHinge("clamp(1 - m, 0, 2); of a staircase the mean over its steps", 1, SIGNS),
  TruncWtHinge2: truncatedHinge("clamp(2 (1 - m), 0, 2)", 2, BOTH),
  TruncWtHinge11: truncatedHinge("clamp(1 - m, 0, 2) - 1", 1, BOTH, 1),
  TruncWtPerceptron: {
    text: "clamp(-m, 0, 1)",
    steps: BOTH,
    kernel: "truncatedPerceptron",
    loss: (m) => clamp(-m, 0, 1),
    slope: (m) => (within(m, -1, 0) ? -1 : 0),
  },
  TruncWtL2Hinge: {
    text: "max(0, 1 - max(m, -1))^2 / 2",
    steps: BOTH,
    kernel: "truncatedL2Hinge",
    loss: (m) => Math.max(0, 1 - Math.max(m, -1)) ** 2 / 2,
    slope: (m) => (within(m, -1, 1) ? m - 1 : 0),
  },
  Sigmoid: sigmoidRule("sigma(-2 m)", 1, 2),
  Sigmoid2_2: sigmoidRule("2 sigma(-2 m)", 2, 2),
  Sigmoid3_2: sigmoidRule("2 sigma(-3 m)", 2, 3),
  LogSigmoid: {
    text: "log sigma(-2 m)",
    steps: SIGNS,
    kernel: "logSigmoid",
    numbers: { slope: 2 },
    loss: (m) => -logLoss(-2 * m),
    slope: (m) => -2 * sigma(2 * m),
  },
  LogLoss: {
    text: "log(1 + e^-m)",
    steps: BOTH,
    kernel: "logLoss",
    loss: logLoss,
    slope: (m) => -sigma(-m),
  },
  TruncLogLoss: {
    text: "min(log(1 + e^-m), 2)",
    steps: BOTH,
    kernel: "truncatedLogLoss",
    loss: (m) => Math.min(logLoss(m), 2),
    slope: (m) => (m > LOG_LOSS_BOUND ? -sigma(-m) : 0),
  },
  SquareLoss: {
    text: "(1 - min(m, 1))^2",
    steps: BOTH,
    kernel: "square",
    loss: (m) => (1 - Math.min(m, 1)) ** 2,
    slope: (m) => (m < 1 ? 2 * (m - 1) : 0),
  },
  TruncSquareLoss: {
    text: "min((1 - min(m, 1))^2, 4)",
    steps: BOTH,
    kernel: "truncatedSquare",
    loss: (m) => Math.min((1 - Math.min(m, 1)) ** 2, 4),
    slope: (m) => (within(m, -1, 1) ? 2 * (m - 1) : 0),
  },
  SoftHinge: softHinge("1 - tanh(m); of a staircase with z = 2 x - 1, without that factor 2", 1),
  SoftHinge2: softHinge("1 - tanh(2 m)", 2),
  LeCunTanh: {
    text: "1 - 1.7519 tanh(2 m / 3)",
    steps: BOTH,
    kernel: "leCunTanh",
    loss: (m) => 1 - 1.7519 * Math.tanh((2 * m) / 3),
    slope: (m) => ((-1.7519 * 2) / 3) * sech2((2 * m) / 3),
  },
  LogWtHinge: logHinge("log(2 - clamp(m, -1, 1))", 1),
  TruncLogWtHinge: logHinge("2 log(2 - clamp(m, -1, 1))", 2),
} as const satisfies Record<string, Entry>;

export type TargetRuleTitle = keyof typeof RULES;

const TABLE: Readonly<Record<TargetRuleTitle, Entry>> = RULES;
/** Rules of a staircase. */
const STAIRCASE: readonly TargetRuleTitle[] = ["SSTE", "TruncWtHinge", "SoftHinge"];

/** The names of all rules, in the order of the table. */
export const targetRuleNames = Object.keys(RULES) as readonly TargetRuleTitle[];

/** Names of the rules that work with an activation; without `gradScale`, of those that have a loss. */
export function targetRulesOf(activation: TargetActivation, gradScale = true): readonly TargetRuleTitle[] {
  const works = (name: TargetRuleTitle): boolean =>
    activation === "staircase" ? STAIRCASE.includes(name) : TABLE[name].steps.includes(activation);
  return targetRuleNames.filter((name) => works(name) && (gradScale || TABLE[name].loss !== undefined));
}

/**
 * What the kernel `targetGradient` takes for a rule, but for its `scale`.
 *
 * @param name as in `targetRuleNames`
 * @throws WidefieldError E_CONFIG for a name that is none, for a rule that does not go with the activation (with the list of
 *   those that do), for a rule that carries g without `gradScale`, and for a staircase of fewer than 2 steps
 */
export function targetRule(
  name: string,
  activation: TargetActivation,
  options: TargetRuleOptions = {},
): TargetRuleParams {
  const title = pairing(name, activation, options);
  const { kernel, numbers, bounds } = TABLE[title];
  if (activation === "staircase") {
    const steps = stepsOf(options);
    if (title === "TruncWtHinge") return { rule: TargetRule.staircaseHinge, slope: steps, low: 0, high: 0 };
    if (title === "SoftHinge") return { rule: TargetRule.softHinge, slope: 1, low: 2, high: -1 };
  }
  const [low, high] = bounds?.[activation] ?? [numbers?.low ?? 0, numbers?.high ?? 0];
  return { rule: TargetRule[kernel], slope: numbers?.slope ?? 1, low, high };
}

/**
 * A rule's loss and its derivative in float64, for documentation and tests: what `targetRule`'s numbers make the kernel
 * compute, with |g| = 1. Throws as `targetRule` does.
 */
export function targetFunction(
  name: string,
  activation: TargetActivation,
  options: TargetRuleOptions = {},
): TargetFunction {
  const title = pairing(name, activation, options);
  const { kernel, loss, slope, bounds } = TABLE[title];
  if (loss === undefined || slope === undefined) {
    const [low, high] = bounds?.[activation] ?? [0, 0];
    return { derivative: (z, t) => -t * weightOf(kernel, z, low, high) };
  }
  if (activation !== "staircase") return { loss: (z, t) => loss(z * t), derivative: (z, t) => t * slope(z * t) };
  const steps = stepsOf(options);
  if (title === "SoftHinge") {
    // The published convention: the derivative with respect to z = 2 x - 1. That of half the loss, with respect to x.
    return { loss: (x, t) => loss((2 * x - 1) * t) / 2, derivative: (x, t) => t * slope((2 * x - 1) * t) };
  }
  const at = Array.from({ length: steps }, (_, i) => i / (steps - 1));
  const near = (x: number): number => at.filter((step) => Math.abs(x - step) <= 1).length;
  return {
    loss: (x, t) => at.reduce((sum, step) => sum + loss((x - step) * t), 0) / steps,
    derivative: (x, t) => (-t * near(x)) / steps,
  };
}

/** The table for the documentation, in the order of `targetRuleNames`. */
export function targetRuleTable(): readonly TargetRuleRow[] {
  const activations = ["step01", "step11", "staircase"] as const;
  return targetRuleNames.map((name) => ({
    name,
    loss: TABLE[name].text,
    activations: activations.filter((activation) => targetRulesOf(activation).includes(name)),
    allowsNoGradScale: TABLE[name].loss !== undefined,
  }));
}

function weightOf(kernel: TargetRuleName, z: number, low: number, high: number): number {
  if (kernel === "ste") return 1;
  if (kernel === "sste") return low <= z && z <= high ? 1 : 0;
  return clamp(Math.min(z - (low - 1), high + 1 - z), 0, 1);
}

function pairing(name: string, activation: TargetActivation, { gradScale = true }: TargetRuleOptions): TargetRuleTitle {
  const title = targetRuleNames.find((known) => known === name);
  const listed = (rules: readonly string[]): string => rules.join(", ");
  if (title === undefined) {
    throw new WidefieldError(
      "E_CONFIG",
      `no target propagation rule is named "${name}" (there are ${listed(targetRuleNames)})${suggestion(name)}`,
      { details: { name, names: targetRuleNames } },
    );
  }
  const working = targetRulesOf(activation, gradScale);
  if (working.includes(title)) return title;
  const fits = targetRulesOf(activation).includes(title);
  const why = fits
    ? `the rule ${name} passes the gradient itself on and needs its size, which no gradScale (--no-tp-grad-scale) leaves out`
    : `the rule ${name} does not go with the activation ${activation}`;
  const remaining = `${activation}${gradScale ? "" : " without gradScale"}`;
  throw new WidefieldError("E_CONFIG", `${why}; rules that work with ${remaining} are ${listed(working)}`, {
    details: { name, activation, gradScale, names: working },
  });
}

function stepsOf({ steps }: TargetRuleOptions): number {
  if (steps !== undefined && Number.isInteger(steps) && steps >= 2) return steps;
  throw new WidefieldError("E_CONFIG", `a staircase needs a whole number of steps, 2 or more, not ${String(steps)}`, {
    details: { steps },
  });
}

function suggestion(name: string): string {
  const lower = name.toLowerCase();
  const nearest = closest(
    lower,
    targetRuleNames.map((known) => known.toLowerCase()),
  );
  const title = targetRuleNames.find((known) => known.toLowerCase() === nearest);
  if (title === undefined || distance(lower, nearest) > Math.max(1, nearest.length / 2)) return "";
  return `; did you mean "${title}"?`;
}
