/**
 * Operations on tensors. Each appends its kernels to the backend's queue and returns at once; each has a gradient
 * (`gradients`). Shapes are checked and refused with E_SHAPE; numbers are not looked at: NaN in, NaN out.
 *
 *     const { value, gradients: [dw] } = gradients(engine, [w], () => ops.mean(ops.relu(ops.matmul(x, w))));
 */
export * from "./ops/elementwise.ts";
export { bias, conv2d, convolve, matmul, type ConvolutionGeometry, type ConvolutionOptions } from "./ops/linear.ts";
export type { MatmulOptions, Pair } from "./ops/linear.ts";
export { avgPool, maxPool, type PoolingOptions } from "./ops/pooling.ts";
export { batchNorm, dropout, type BatchNormOptions } from "./ops/normalisation.ts";
export { concat, flatten, pad, reshape, slice, transpose } from "./ops/copies.ts";
export { logSoftmax, max, mean, softmax, sum } from "./ops/reductions.ts";
export { classLoss, halfSquaredNorm, meanSquaredError, type ClassLoss } from "./ops/losses.ts";
