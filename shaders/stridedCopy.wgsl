// out[outOffset + sum i_k outStride_k] = alpha a[inOffset + sum i_k inStride_k] + beta out[..].
//
// Adjacent lanes take adjacent indices of the last axis; the grid strides over what exceeds 65,535 workgroups. Bound by
// memory bandwidth where that axis is contiguous in both arrays, by cache lines that are fetched for a few of their floats
// in a transpose.

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let sizes = vec3u(params.n1, params.n2, params.n3);
  let count = params.n0 * params.n1 * params.n2 * params.n3;
  for (var i = global.x; i < count; i += workgroups.x * PER_WORKGROUP) {
    let line = i / sizes.z;
    let plane = line / sizes.y;
    let index = vec4i(vec4u(plane / sizes.x, plane % sizes.x, line % sizes.y, i % sizes.z));
    let inSteps = index * vec4i(params.inStride0, params.inStride1, params.inStride2, params.inStride3);
    let outSteps = index * vec4i(params.outStride0, params.outStride1, params.outStride2, params.outStride3);
    let source = params.inOffset + u32(inSteps.x + inSteps.y + inSteps.z + inSteps.w);
    let place = params.outOffset + u32(outSteps.x + outSteps.y + outSteps.z + outSteps.w);
    var value = params.alpha * a[source];
    if (params.beta != 0.0) { value = fma(params.beta, out[place], value); }
    out[place] = value;
  }
}
