// out = f(a, b), element by element.
//
// Adjacent lanes take adjacent elements; the grid strides over what exceeds 65,535 workgroups. Eight bytes read, four
// written and two or three instructions an element: bound by memory bandwidth whatever is done here.

const FILL = 0u;
const AFFINE = 1u;
const ADD = 2u;

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  for (var i = global.x; i < params.count; i += workgroups.x * PER_WORKGROUP) {
    var value = params.alpha;
    switch params.operation {
      case FILL: {}
      case AFFINE: { value = fma(params.alpha, a[i], params.beta); }
      case ADD: { value = fma(params.alpha, a[i], params.beta * b[i]); }
      default: { value = fma(params.alpha * a[i], b[i], params.beta); } // multiply
    }
    out[i] = value;
  }
}
