/**
 * The per-image table of the wasm backend: what a pair reads of each of its two images.
 *
 * Images stand in groups of four. One image meets the four of a group at once, so every group holds its images twice:
 *
 *     lanes:  [pixel][4 lanes]            the images, one to a SIMD lane: the four
 *             [table pixel][s x 4, r x 4]
 *     splats: four times [pixel]          each image on its own: the one. Compact, because its table shares L1 with
 *             [table pixel][s, r]         the pair's maps (6 KB a layer of 28 x 28; read out of lanes it would be 25)
 *
 * A table pixel is a pixel of a nonlinearity; s is the image's standard deviation before it (of erf, with its offset),
 * times a relu's gain, and r = 1 / s, or sqrt(lambda) / s for a relu of the plain build (`kappa.ts`).
 * A standard deviation below S_MIN gets r = 0, so that 1/s of a denormal cannot overflow into inf * 0 = NaN: angles are
 * lost, and inputs should have amplitudes well above 1e-15, or biases. To step and erf it counts as zero.
 */
export const LANES: u32 = 4;
export const LANE_BYTES: usize = 16;
/** One table pixel among the lanes, and among the splats. */
export const LANES_PIXEL_BYTES: usize = 32;
export const SPLAT_PIXEL_BYTES: usize = 8;

/** 2^-50: its square is far below one ulp of any variance that matters at a map's scale, and 1/s^2 stays finite. */
export const S_MIN: f64 = 8.881784197001252e-16;

function lanesBytes(imageFloats: u32, tablePixels: u32): usize {
  return <usize>imageFloats * LANE_BYTES + <usize>tablePixels * LANES_PIXEL_BYTES;
}

function splatBytes(imageFloats: u32, tablePixels: u32): usize {
  return (<usize>imageFloats << 2) + <usize>tablePixels * SPLAT_PIXEL_BYTES;
}

/** The lanes of a group. */
export function lanesOf(table: usize, group: u32, imageFloats: u32, tablePixels: u32): usize {
  return table + <usize>group * 2 * lanesBytes(imageFloats, tablePixels);
}

/** The splats of an image. */
export function splatOf(table: usize, image: u32, imageFloats: u32, tablePixels: u32): usize {
  const lanes = lanesOf(table, image / LANES, imageFloats, tablePixels);
  return lanes + lanesBytes(imageFloats, tablePixels) + <usize>(image % LANES) * splatBytes(imageFloats, tablePixels);
}
