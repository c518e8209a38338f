/** One step of an encoded covariance program, read in place. The layout is declared in `sdk/covariance/encode.ts`. */
@unmanaged export class Step {
  kind: u32;
  channels: u32;
  inHeight: u32;
  inWidth: u32;
  outHeight: u32;
  outWidth: u32;
  filterHeight: u32;
  filterWidth: u32;
  strideHeight: u32;
  strideWidth: u32;
  dilationHeight: u32;
  dilationWidth: u32;
  padTop: u32;
  padLeft: u32;
  table: u32;
  from: u32;
  to: u32;
  accumulate: u32;
  /** Words of the GPU's line layout. */
  load: u32;
  keep: u32;
  addend: u32;
  orientation: u32;
  /** The step's weight or scale; of a rectifier its curve. */
  factor: f32;
  /** Also erf's offset. */
  bias: f32;
  positive: f32;
  negative: f32;
  factor64: f64;
  bias64: f64;
  positive64: f64;
  negative64: f64;
  /** What a linear step adds to the NTK, where `learns` is 1: gain * K' + offset. */
  gain: f32;
  offset: f32;
  gain64: f64;
  offset64: f64;
  learns: u32;
  /** Words of full programs: see `sdk/covariance/encode-full.ts`. */
  axisY: u32;
  axisX: u32;
  ratioY: i32;
  ratioX: i32;
  /** Of a convolution `edge`, a table. */
  state: u32;
  stateAxisY: u32;
  stateAxisX: u32;
}
