/** One step of an encoded recursion, read in place. The layout is declared in `sdk/covariance/recursion.ts`. */
@unmanaged export class RecursionStep {
  kind: u32;
  from: u32;
  to: u32;
  accumulate: u32;
  degree: u32;
  biased: u32;
  /** Weight, scale, or curve. */
  factor: f32;
  /** Also erf's offset. */
  bias: f32;
  positive: f32;
  negative: f32;
  gain: f32;
  offset: f32;
  factor64: f64;
  bias64: f64;
  positive64: f64;
  negative64: f64;
  gain64: f64;
  offset64: f64;
}

/** Rows of a table for each step: see `sdk/covariance/recursion-images.ts`. */
export const TABLE_ROWS: usize = 6;
export const ROW_H: usize = 0;
export const ROW_S: usize = 0;
export const ROW_R: usize = 1;
export const ROW_OWN: usize = 2;
export const ROW_BIAS: usize = 3;
export const ROW_SLOT: usize = 4;
export const ROW_SUM: usize = 5;
