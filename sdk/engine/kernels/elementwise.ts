/**
 * out = f(a, b), element by element, float32: what a kernel matrix, a prediction or a finite network needs between two
 * larger kernels. Deep recursions are fused programs, not chains of these. `b` is read by `add` and `multiply` only.
 * Every function of NaN is NaN.
 */
import { d, defineKernel } from "../schema.ts";

export const ElementwiseOperation = {
  /** out = alpha */
  fill: 0,
  /** out = alpha a + beta */
  affine: 1,
  /** out = alpha a + beta b */
  add: 2,
  /** out = alpha a b + beta */
  multiply: 3,
  /** out = alpha max(a, 0) */
  relu: 4,
  /** out = alpha where a > 0, else 0 */
  step: 5,
} as const;

const PER_WORKGROUP = 256;

export const elementwise = defineKernel({
  name: "elementwise",
  params: { count: d.u32, operation: d.u32, alpha: d.f32, beta: d.f32 },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "b", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  // One dimension holds at most 65,535 workgroups; the shader strides over what is left.
  geometry: ({ count }) => ({
    workgroups: [Math.min(Math.ceil(count / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ count }) => ({ items: count, grain: 16384 }),
});
