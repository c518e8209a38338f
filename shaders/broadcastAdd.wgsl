// out[n, c, p] = alpha a[n, c, p] + beta b[n strideBatch + c strideChannel + p stridePixel].
//
// Adjacent lanes take adjacent elements of a and out; the grid strides over what exceeds 65,535 workgroups. Bound by
// memory bandwidth: b is small, or read once for each channel and found in a cache.

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let count = params.batch * params.channels * params.pixels;
  for (var i = global.x; i < count; i += workgroups.x * PER_WORKGROUP) {
    let plane = i / params.pixels;
    let at = plane / params.channels * params.strideBatch
      + plane % params.channels * params.strideChannel
      + i % params.pixels * params.stridePixel;
    out[i] = fma(params.alpha, a[i], params.beta * b[at]);
  }
}
