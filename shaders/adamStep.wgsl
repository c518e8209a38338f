// One step of Adam, in place (formulas: sdk/engine/kernels/optimisers.ts). Adjacent lanes take adjacent weights; 28
// bytes of traffic a weight.

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
    let m = fma(params.beta1, first[i], (1.0 - params.beta1) * g);
    let v = fma(params.beta2, second[i], (1.0 - params.beta2) * (g * g));
    first[i] = m;
    second[i] = v;
    weights[i] = weight - params.rate * m / fma(sqrt(v), params.root, params.epsilon);
  }
}
