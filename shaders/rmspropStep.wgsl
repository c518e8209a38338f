// One step of RMSprop, in place (formulas: sdk/engine/kernels/optimisers.ts). Adjacent lanes take adjacent weights; 20
// bytes of traffic a weight, 28 with momentum.

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
    let v = fma(params.alpha, second[i], (1.0 - params.alpha) * (g * g));
    second[i] = v;
    var step = g / (sqrt(v) + params.epsilon);
    if (params.momentum > 0.0) {
      step = fma(params.momentum, velocity[i], step);
      velocity[i] = step;
    }
    weights[i] = fma(-params.rate, step, weight);
  }
}
