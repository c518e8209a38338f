// Moments of channels, with a batch normalisation's scale and shift, as coefficients of one affine map, and running
// statistics. A lane takes a channel: a few numbers each.

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let channels = params.channels;
  for (var c = global.x; c < channels; c += workgroups.x * PER_WORKGROUP) {
    let mean = moments[c];
    let variance = moments[channels + c];
    let s = scale[c] / sqrt(variance + params.epsilon);
    coefficients[c] = s;
    coefficients[channels + c] = fma(-mean, s, shift[c]);
    if (params.momentum > 0.0) {
      // Of a single number, the variance of the population is all there is.
      let unbiased = variance * (f32(params.count) / f32(max(params.count, 2u) - 1u));
      running[c] = fma(params.momentum, mean, (1.0 - params.momentum) * running[c]);
      running[channels + c] = fma(params.momentum, unbiased, (1.0 - params.momentum) * running[channels + c]);
    }
  }
}
