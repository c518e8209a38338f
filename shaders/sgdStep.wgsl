// One step of stochastic gradient descent, in place (formulas: sdk/engine/kernels/optimisers.ts). Adjacent lanes take
// adjacent weights; bound by memory bandwidth.

//# include special-numbers

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  if (!isFinite(guard[0])) { return; }
  for (var i = global.x; i < params.count; i += workgroups.x * PER_WORKGROUP) {
    let weight = weights[i];
    let g = fma(params.decay, weight, gradient[i]);
    var step = g;
    if (params.momentum != 0.0) {
      // What stands in the buffer before the first step may be anything.
      if (params.first == 0u) { step = fma(params.momentum, velocity[i], g); }
      velocity[i] = step;
      if (params.nesterov != 0u) { step = fma(params.momentum, step, g); }
    }
    weights[i] = fma(-params.rate, step, weight);
  }
}
