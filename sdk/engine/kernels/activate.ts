/**
 * Functions of single numbers that networks need and their derivatives, in float32.
 *
 *     activate           out = f(a)
 *     activateGradient   out = f'(a) g
 *
 * `p` and `q` are the function's own numbers. f(NaN) is NaN, on either backend. Derivatives at kinks are those of PyTorch:
 * 0 for relu, leakyRelu's slope, abs and sign at 0; clamp passes at its bounds.
 */
import { d, defineKernel } from "../schema.ts";

export const ActivateOperation = {
  /** max(x, 0) */
  relu: 0,
  /** x where x > 0, else p x */
  leakyRelu: 1,
  /** x where x > 0, else p (e^x - 1) */
  elu: 2,
  /** 1 / (1 + e^-x) */
  sigmoid: 3,
  /** log(1 + e^x) */
  softplus: 4,
  tanh: 5,
  exp: 6,
  /** Of what is not positive: -infinity at 0, NaN below. */
  log: 7,
  sqrt: 8,
  square: 9,
  abs: 10,
  /** -1, 0 or 1. The derivative is 0. */
  sign: 11,
  /** min(max(x, p), q), p <= q. The derivative is 1 where p <= x <= q. */
  clamp: 12,
  /** (erf x); the derivative is 2 / sqrt(pi) e^(-x^2). */
  erf: 13,
  /** p where x <= 0, q where x > 0. The derivative is 0: see `targetGradient`. */
  threshold: 14,
  /**
   * n = p steps of height 1/n, at 0, 1/(n-1), .., 1: clamp(ceil(x (n-1)), 0, n) / n, the step at 0 counted as soon as x > 0.
   * The derivative is 0.
   */
  staircase: 15,
  /** 1 / x */
  reciprocal: 16,
} as const;

export type ActivateName = keyof typeof ActivateOperation;

const PER_WORKGROUP = 256;

const params = { count: d.u32, operation: d.u32, p: d.f32, q: d.f32 };
const geometry = ({ count }: { count: number }) => ({
  // One dimension holds at most 65,535 workgroups; the shader strides over what is left.
  workgroups: [Math.min(Math.ceil(count / PER_WORKGROUP), 65535), 1, 1] as const,
  constants: { PER_WORKGROUP },
});
const split = ({ count }: { count: number }) => ({ items: count, grain: 16384 });

export const activate = defineKernel({
  name: "activate",
  params,
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry,
  split,
});

export const activateGradient = defineKernel({
  name: "activateGradient",
  params,
  buffers: [
    /** What the function was applied to. */
    { name: "a", access: "read", element: "f32" },
    { name: "g", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry,
  split,
});
