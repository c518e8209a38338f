// out = f(a), element by element: adjacent lanes take adjacent elements, and the grid strides over what exceeds 65,535
// workgroups. Eight bytes of traffic an element; e^x is 15 instructions.
//
// NaN comes out as NaN, and infinities as IEEE 754 has them, though WGSL promises neither: both are told by their bits.

//# include special-numbers
//# include activations
//# include erf
//# include exponential
//# include logarithm

fn apply(x: f32) -> f32 {
  let p = params.p;
  switch params.operation {
    case RELU: { return select(x, 0.0, isNegative(x)); }
    case LEAKY_RELU: { return select(p * x, x, x > 0.0); }
    case ELU: { return select(p * exponentialLessOne(min(x, 0.0)), x, x > 0.0); }
    case SIGMOID: { return sigmoid(x); }
    case SOFTPLUS: { return softplus(x); }
    case TANH: { return hyperbolicTangent(x); }
    case EXP: { return exponential(x); }
    case LOG: { return logarithm(x); }
    case SQRT: { return root(x); }
    case SQUARE: { return x * x; }
    case ABS: { return abs(x); }
    case SIGNUM: { return select(select(0.0, -1.0, x < 0.0), 1.0, x > 0.0); }
    case CLAMP: { return min(max(x, p), params.q); }
    case ERF: { return erf(x); }
    case THRESHOLD: { return select(p, params.q, x > 0.0); }
    case STAIRCASE: { return clamp(ceil(x * (p - 1.0)), 0.0, p) / p; }
    default: { return reciprocal(x); }
  }
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  for (var i = global.x; i < params.count; i += workgroups.x * PER_WORKGROUP) {
    let x = a[i];
    out[i] = select(apply(x), x, isNan(x));
  }
}
