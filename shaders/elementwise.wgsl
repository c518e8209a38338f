// out = f(a, b), element by element.
//
// Adjacent lanes take adjacent elements; the grid strides over what exceeds 65,535 workgroups. Eight bytes read, four
// written and a few instructions an element: bound by memory bandwidth whatever is done here.
//
// NaN comes out as NaN, so that an overflow further up is seen and not taken for a 0: relu and step ask for the bits.

const FILL = 0u;
const AFFINE = 1u;
const ADD = 2u;
const MULTIPLY = 3u;
const RELU = 4u;

//# include special-numbers

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
      case MULTIPLY: { value = fma(params.alpha * a[i], b[i], params.beta); }
      case RELU: { value = params.alpha * select(a[i], 0.0, isNegative(a[i])); }
      // step
      default: { value = select(select(0.0, params.alpha, a[i] > 0.0), a[i], isNan(a[i])); }
    }
    out[i] = value;
  }
}
