/**
 * The small arithmetic of batch normalisation (Ioffe and Szegedy 2015), a few numbers for each channel; the work on whole
 * arrays is `channels.ts`'s. `count` = batch times pixels.
 *
 *     batchNormFold      from moments [mean, variance] and the layer's scale and shift: coefficients [s, u] with
 *                        s = scale / sqrt(variance + epsilon), u = shift - mean s. With momentum > 0 also
 *                        running = (1 - momentum) running + momentum [mean, variance count / (count - 1)], as PyTorch does (with count = 1
 *                        the variance itself)
 *     batchNormBack      from sums [sum g, sum g (a - mean)], moments and scale, with r = 1 / sqrt(variance + epsilon):
 *                        coefficients [s, t, u] of the input's gradient s g + t a + u,
 *                        s = scale r, t = -scale r^3 sums_2 / count, u = -s sums_1 / count - t mean;
 *                        and gradients [d scale, d shift] = [r sums_2, sums_1]. With count = 0 the moments are constants,
 *                        as in inference: t = u = 0
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 64;

const geometry = ({ channels }: { channels: number }) => ({
  workgroups: [Math.ceil(channels / PER_WORKGROUP), 1, 1] as const,
  constants: { PER_WORKGROUP },
});
const split = ({ channels }: { channels: number }) => ({ items: channels, grain: 1024 });

export const batchNormFold = defineKernel({
  name: "batchNormFold",
  params: { channels: d.u32, count: d.u32, epsilon: d.f32, momentum: d.f32 },
  buffers: [
    /** [2, channels] */
    { name: "moments", access: "read", element: "f32" },
    { name: "scale", access: "read", element: "f32" },
    { name: "shift", access: "read", element: "f32" },
    /** [2, channels]; with momentum = 0 any buffer that nothing else here is. */
    { name: "running", access: "readwrite", element: "f32" },
    /** [2, channels] */
    { name: "coefficients", access: "write", element: "f32" },
  ],
  geometry,
  split,
});

export const batchNormBack = defineKernel({
  name: "batchNormBack",
  params: { channels: d.u32, count: d.u32, epsilon: d.f32 },
  buffers: [
    /** [2, channels] */
    { name: "sums", access: "read", element: "f32" },
    /** [2, channels] */
    { name: "moments", access: "read", element: "f32" },
    { name: "scale", access: "read", element: "f32" },
    /** [3, channels] */
    { name: "coefficients", access: "write", element: "f32" },
    /** [2, channels] */
    { name: "gradients", access: "write", element: "f32" },
  ],
  geometry,
  split,
});
