// The backward pass of batch normalisation: coefficients of the affine map that gives the input's gradient, and the gradients
// of scale and shift. A lane takes a channel: a few numbers each.

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let channels = params.channels;
  // Moments that are constants carry no gradient.
  let share = select(1.0 / f32(max(params.count, 1u)), 0.0, params.count == 0u);
  for (var c = global.x; c < channels; c += workgroups.x * PER_WORKGROUP) {
    let sum = sums[c];
    let product = sums[channels + c];
    let r = 1.0 / sqrt(moments[channels + c] + params.epsilon);
    let s = scale[c] * r;
    let t = -s * r * r * product * share;
    coefficients[c] = s;
    coefficients[channels + c] = t;
    coefficients[2u * channels + c] = fma(-t, moments[c], -s * sum * share);
    gradients[c] = r * product;
    gradients[channels + c] = sum;
  }
}
