// Pooling of image planes, a lane to a window: neighbouring lanes read neighbouring windows of a row. Of a maximum, the
// first largest pixel counts, and a NaN is larger than anything; WGSL leaves comparisons with NaN open, so NaNs are told
// by their bits. The grid strides over what exceeds 65,535 workgroups.

const MAX = 0u; // PoolOperation of the schema
const NOWHERE = 0xffffffffu; // the place of a window without pixels

//# include special-numbers

/** Rows, or columns, [x, y) of a window that lie inside; none where x >= y. */
fn clip(index: u32, stride: u32, pad: u32, window: u32, size: u32) -> vec2u {
  let first = index * stride; // from here on counted from the padding's edge
  return vec2u(max(first, pad) - pad, max(min(first + window, size + pad), pad) - pad);
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let windows = params.outHeight * params.outWidth;
  let count = params.planes * windows;
  for (var index = global.x; index < count; index += workgroups.x * PER_WORKGROUP) {
    let v = index % windows / params.outWidth;
    let u = index % params.outWidth;
    let rows = clip(v, params.strideHeight, params.padTop, params.windowHeight, params.inHeight);
    let columns = clip(u, params.strideWidth, params.padLeft, params.windowWidth, params.inWidth);
    let plane = index / windows * params.inHeight * params.inWidth;
    if (params.operation == MAX) {
      var best = 0u; // the bits of the largest: they carry NaN and infinities through
      var place = NOWHERE;
      for (var y = rows.x; y < rows.y; y++) {
        for (var x = columns.x; x < columns.y; x++) {
          let at = y * params.inWidth + x;
          let value = a[plane + at];
          let largest = bitcast<f32>(best);
          if (place == NOWHERE || (!isNan(largest) && (isNan(value) || value > largest))) {
            best = bitcast<u32>(value);
            place = at;
          }
        }
      }
      out[index] = bitcast<f32>(select(best, 0xff800000u, place == NOWHERE));
      places[index] = place;
    } else {
      var sum = 0.0;
      for (var y = rows.x; y < rows.y; y++) {
        for (var x = columns.x; x < columns.y; x++) { sum += a[plane + y * params.inWidth + x]; }
      }
      out[index] = sum / f32(params.windowHeight * params.windowWidth);
    }
  }
}
