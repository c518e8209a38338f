// out = f'(a) g, element by element, in the order of `activate`. Where the derivative is 0 or 1, g is masked and not
// multiplied: a unit that is off lets no infinity through. Of a = NaN it is NaN.

//# include special-numbers
//# include activations
//# include exponential

/**
 * 2 / sqrt(pi) e^(-x^2), the derivative of erf. The first 12 bits of x have an exact square; what x^2 has beyond it, and the
 * factor, are the rest of the exponent. It is 0 from 10.3 on.
 */
fn gaussian(x: f32) -> f32 {
  let size = min(abs(x), 11.0);
  let head = bitcast<f32>(bitcast<u32>(size) & 0xfffff000u);
  return exponentialOfSum(-head * head, 0.120782238 - (size - head) * (size + head));
}

fn gradient(x: f32, g: f32) -> f32 {
  let p = params.p;
  switch params.operation {
    case RELU: { return select(0.0, g, x > 0.0); }
    case LEAKY_RELU: { return select(p * g, g, x > 0.0); }
    case ELU: { return select(p * exponential(min(x, 0.0)) * g, g, x > 0.0); }
    case SIGMOID: { return sigmoidSlope(x) * g; }
    case SOFTPLUS: { return sigmoid(x) * g; }
    case TANH: { return tanhSlope(x) * g; }
    case EXP: { return exponential(x) * g; }
    case LOG: { return g * reciprocal(x); }
    case SQRT: { return 0.5 * g * reciprocal(root(x)); }
    case SQUARE: { return 2.0 * x * g; }
    case ABS: { return select(select(0.0, -g, x < 0.0), g, x > 0.0); }
    case CLAMP: { return select(0.0, g, x >= p && x <= params.q); }
    case ERF: { return gaussian(x) * g; }
    case RECIPROCAL: {
      let r = reciprocal(x);
      return -(g * r) * r;
    }
    default: { return 0.0; } // sign, threshold and staircase
  }
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  for (var i = global.x; i < params.count; i += workgroups.x * PER_WORKGROUP) {
    let x = a[i];
    out[i] = select(gradient(x, g[i]), x, isNan(x));
  }
}
