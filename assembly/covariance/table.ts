/**
 * The per-image table of the wasm backend: what a pair reads of each of its two images.
 *
 * Images stand in groups of four, one to a SIMD lane, so that one image (splat) meets four others (loaded) at once:
 *
 *     group:  [pixel][4 lanes]            the images themselves, imageFloats entries
 *             [relu pixel][s x 4, r x 4]  tablePixels entries of 32 bytes
 *
 * s is the standard deviation before the relu and r = sqrt(lambda) / s, with the lambda of that relu (`kappa.ts`).
 * A standard deviation below S_MIN counts as zero and gets r = 0: the pixel's covariances are zero, and 1/s of a
 * denormal cannot overflow into inf * 0 = NaN.
 */
export const LANES: u32 = 4;
export const LANE_BYTES: usize = 16;
export const RELU_BYTES: usize = 32;

/** 2^-50: its square is far below one ulp of any variance that matters at a map's scale, and 1/s^2 stays finite. */
export const S_MIN: f64 = 8.881784197001252e-16;

export function groupBytes(imageFloats: u32, tablePixels: u32): usize {
  return <usize>imageFloats * LANE_BYTES + <usize>tablePixels * RELU_BYTES;
}
