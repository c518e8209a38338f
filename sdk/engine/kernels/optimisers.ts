/**
 * One step of an optimiser on one array of weights w with gradient g, by PyTorch's formulas, in float32. `decay` is L2:
 * everywhere below g stands for gradient + decay w. A step changes nothing where guard[0], the loss that the gradient came
 * from, is not finite: a run that has diverged keeps its last weights.
 *
 *     sgdStep       v = momentum v + g (v = g where first = 1);  w -= rate (nesterov ? g + momentum v : v);
 *                   with momentum = 0, w -= rate g, and the buffer of v is left alone
 *     adamStep      m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
 *                   w -= rate m / (sqrt(v) root + epsilon): the bias corrections are the caller's,
 *                   rate = lr / (1 - beta1^t) and root = 1 / sqrt(1 - beta2^t)
 *     rmspropStep   v = alpha v + (1 - alpha) g^2;  u = g / (sqrt(v) + epsilon);
 *                   momentum > 0: b = momentum b + u, w -= rate b; else w -= rate u, and the buffer of b is left alone
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 256;

const geometry = ({ count }: { count: number }) => ({
  workgroups: [Math.min(Math.ceil(count / PER_WORKGROUP), 65535), 1, 1] as const,
  constants: { PER_WORKGROUP },
});
const split = ({ count }: { count: number }) => ({ items: count, grain: 16384 });

const common = [
  { name: "gradient", access: "read", element: "f32" },
  { name: "guard", access: "read", element: "f32" },
  { name: "weights", access: "readwrite", element: "f32" },
] as const;

export const sgdStep = defineKernel({
  name: "sgdStep",
  params: { count: d.u32, rate: d.f32, decay: d.f32, momentum: d.f32, nesterov: d.u32, first: d.u32 },
  buffers: [...common, { name: "velocity", access: "readwrite", element: "f32" }],
  geometry,
  split,
});

export const adamStep = defineKernel({
  name: "adamStep",
  params: {
    count: d.u32,
    rate: d.f32,
    decay: d.f32,
    beta1: d.f32,
    beta2: d.f32,
    epsilon: d.f32,
    root: d.f32,
  },
  buffers: [
    ...common,
    { name: "first", access: "readwrite", element: "f32" },
    { name: "second", access: "readwrite", element: "f32" },
  ],
  geometry,
  split,
});

export const rmspropStep = defineKernel({
  name: "rmspropStep",
  params: { count: d.u32, rate: d.f32, decay: d.f32, alpha: d.f32, momentum: d.f32, epsilon: d.f32 },
  buffers: [
    ...common,
    { name: "second", access: "readwrite", element: "f32" },
    { name: "velocity", access: "readwrite", element: "f32" },
  ],
  geometry,
  split,
});
