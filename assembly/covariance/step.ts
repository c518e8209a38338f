/** One step of an encoded covariance program, read in place. The layout is declared in `sdk/covariance/program.ts`. */
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
  unused0: u32;
  factor: f32;
  bias: f32;
  unused1: u32;
  unused2: u32;
  factor64: f64;
  bias64: f64;
}
