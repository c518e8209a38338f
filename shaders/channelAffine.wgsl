// out[n, c, p] = s[c] a[n, c, p] + t[c] b[n, c, p] + u[c], where `coefficients` is [s, t, u], or [s, u] without b.
//
// Adjacent lanes take adjacent elements; the grid strides over what exceeds 65,535 workgroups. Bound by memory bandwidth:
// coefficients are few, and found in a cache.

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let count = params.batch * params.channels * params.pixels;
  for (var i = global.x; i < count; i += workgroups.x * PER_WORKGROUP) {
    let channel = i / params.pixels % params.channels;
    let scaled = coefficients[channel] * a[i];
    if (params.useB != 0u) {
      let sum = fma(coefficients[params.channels + channel], b[i], scaled);
      out[i] = sum + coefficients[2u * params.channels + channel];
    } else {
      out[i] = scaled + coefficients[params.channels + channel];
    }
  }
}
