// The gradient of pool2d, a lane to a pixel of the input: it adds up, in the order of the windows, the gradients of those
// windows that cover the pixel, and of a maximum only of those that picked it. No two lanes write to one place. The grid
// strides over what exceeds 65,535 workgroups.

const MAX = 0u; // PoolOperation of the schema

/** Windows [x, y) along one axis that cover a pixel. */
fn covering(pixel: u32, stride: u32, pad: u32, window: u32, count: u32) -> vec2u {
  let place = pixel + pad; // of the windows index stride .. + window
  let first = select(0u, (place - window) / stride + 1u, place >= window);
  return vec2u(first, min(place / stride + 1u, count));
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let pixels = params.inHeight * params.inWidth;
  let count = params.planes * pixels;
  for (var index = global.x; index < count; index += workgroups.x * PER_WORKGROUP) {
    let place = index % pixels;
    let y = place / params.inWidth;
    let x = place % params.inWidth;
    let rows = covering(y, params.strideHeight, params.padTop, params.windowHeight, params.outHeight);
    let columns = covering(x, params.strideWidth, params.padLeft, params.windowWidth, params.outWidth);
    let plane = index / pixels * params.outHeight * params.outWidth;
    var sum = 0.0;
    for (var v = rows.x; v < rows.y; v++) {
      for (var u = columns.x; u < columns.y; u++) {
        let at = plane + v * params.outWidth + u;
        if (params.operation != MAX) {
          sum += gradient[at] / f32(params.windowHeight * params.windowWidth);
        } else if (places[at] == place) {
          sum += gradient[at];
        }
      }
    }
    out[index] = sum;
  }
}
