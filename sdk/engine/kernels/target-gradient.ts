/**
 * The backward pass of a unit whose activation is a hard threshold, by feasible target propagation (Friesen and Domingos,
 * "Deep Learning as a Mixed Convex-Combinatorial Optimization Problem", ICLR 2018): the target of a unit with input z,
 * which the gradient g reaches, is t = -sign(g), and what goes on to z is
 *
 *     out = d loss(z, t) / dz  times  |g|, or times `scale` where `scale` is not 0  (carried rules: out = g w(z))
 *
 * The losses stand, with their names, in `sdk/tensor/target-rules.ts`; here is only the derivative with respect to m = z t:
 * d loss / dz = t loss'(m) = -sign(g) loss'(m). With g = 0 there is no target, and out is 0. float32.
 */
import { d, defineKernel } from "../schema.ts";

export const TargetRule = {
  /** out = g */
  ste: 0,
  /** out = g where low <= z <= high */
  sste: 1,
  /** out = g times 1 on [low, high], falling linearly to 0 over the next unit on each side */
  ramp: 2,
  /** max(0, 1 - m) */
  hinge: 3,
  /** max(0, -m) */
  perceptron: 4,
  /** |t| (z - t)^2 / 2 */
  adaline: 5,
  /** clamp(slope (1 - m), 0, 2), whose derivative is -slope where 0 < slope (1 - m) < 2 */
  truncatedHinge: 6,
  /** clamp(-m, 0, 1) */
  truncatedPerceptron: 7,
  /** max(0, 1 - max(m, -1))^2 / 2 */
  truncatedL2Hinge: 8,
  /** scale sigma(-slope m), with scale = `low` */
  sigmoid: 9,
  /** log sigma(-slope m) */
  logSigmoid: 10,
  /** log(1 + e^-m) */
  logLoss: 11,
  /** min(log(1 + e^-m), 2) */
  truncatedLogLoss: 12,
  /** (1 - min(m, 1))^2 */
  square: 13,
  /** min((1 - min(m, 1))^2, 4) */
  truncatedSquare: 14,
  /** 1 - tanh(slope m); of a staircase z = 2 x - 1, without that chain's factor 2: `low` = 2 and `high` = -1 say so */
  softHinge: 15,
  /** 1 - 1.7519 tanh(2 m / 3) */
  leCunTanh: 16,
  /** log(2 - clamp(m, -1, 1)), times `low` */
  logHinge: 17,
  /** Of a staircase of n = `slope` steps: out = -t / n times the number of steps i with |x - i / (n - 1)| <= 1 */
  staircaseHinge: 18,
} as const;

export type TargetRuleName = keyof typeof TargetRule;

const PER_WORKGROUP = 256;

export const targetGradient = defineKernel({
  name: "targetGradient",
  params: {
    count: d.u32,
    rule: d.u32,
    /** Numbers of the rule, as said above; soft hinges take z = low x + high. */
    slope: d.f32,
    low: d.f32,
    high: d.f32,
    /** 0: the derivative is multiplied by |g|; else by this. Carried rules ignore it. */
    scale: d.f32,
  },
  buffers: [
    { name: "z", access: "read", element: "f32" },
    { name: "g", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: ({ count }) => ({
    workgroups: [Math.min(Math.ceil(count / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ count }) => ({ items: count, grain: 16384 }),
});
