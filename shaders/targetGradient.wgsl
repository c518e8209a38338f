// The backward pass of hard thresholds by target propagation (rules: sdk/engine/kernels/target-gradient.ts). With
// t = -sign(g) and m = z t,
//
//     out = t loss'(m) |g| = -g loss'(m), or t loss'(m) scale;  0 where g is 0, NaN where g or z is
//
// Adjacent lanes take adjacent elements; twelve bytes of traffic each.

//# include special-numbers
//# include exponential

const STE = 0u;
const SSTE = 1u;
const RAMP = 2u;
const HINGE = 3u;
const PERCEPTRON = 4u;
const ADALINE = 5u;
const TRUNCATED_HINGE = 6u;
const TRUNCATED_PERCEPTRON = 7u;
const TRUNCATED_L2_HINGE = 8u;
const LOGISTIC = 9u;
const LOG_SIGMOID = 10u;
const LOG_LOSS = 11u;
const TRUNCATED_LOG_LOSS = 12u;
const SQUARE = 13u;
const TRUNCATED_SQUARE = 14u;
const SOFT_HINGE = 15u;
const LECUN_TANH = 16u;
const LOG_HINGE = 17u;

// The largest float32 below -log(e^2 - 1), where log(1 + e^-m) is 2.
const LOG_LOSS_BOUND = -1.85458660;

/** What the rules that carry g let through. */
fn carried(z: f32, g: f32) -> f32 {
  switch params.rule {
    case STE: { return g; }
    case SSTE: { return select(0.0, g, z >= params.low && z <= params.high); }
    default: {
      let weight = clamp(min(z - (params.low - 1.0), (params.high + 1.0) - z), 0.0, 1.0);
      return select(0.0, g * weight, weight > 0.0);
    }
  }
}

/** The number of i in 0 .. n - 1 with |x - i / (n - 1)| <= 1. */
fn stepsAround(n: f32, x: f32) -> f32 {
  let top = min(floor((n - 1.0) * (x + 1.0)), n - 1.0);
  let bottom = max(ceil((n - 1.0) * (x - 1.0)), 0.0);
  return max(top - bottom + 1.0, 0.0);
}

/** The derivative of the rule's loss with respect to m. At a kink it is that of the flat side. */
fn slopeOf(z: f32, m: f32) -> f32 {
  let slope = params.slope;
  let inside = m < 1.0 && m > -1.0;
  switch params.rule {
    case HINGE: { return select(0.0, -1.0, m < 1.0); }
    case PERCEPTRON: { return select(0.0, -1.0, m < 0.0); }
    case ADALINE: { return m - 1.0; }
    // slope (1 - m) < 2, without the rounding of 1 - m.
    case TRUNCATED_HINGE: { return select(0.0, -slope, m < 1.0 && slope * m > slope - 2.0); }
    case TRUNCATED_PERCEPTRON: { return select(0.0, -1.0, inside && m < 0.0); }
    case TRUNCATED_L2_HINGE: { return select(0.0, m - 1.0, inside); }
    case LOGISTIC: { return -(params.low * slope) * sigmoidSlope(slope * m); }
    case LOG_SIGMOID: { return -slope * sigmoid(slope * m); }
    case LOG_LOSS: { return -sigmoid(-m); }
    case TRUNCATED_LOG_LOSS: { return select(0.0, -sigmoid(-m), m > LOG_LOSS_BOUND); }
    case SQUARE: { return select(0.0, 2.0 * (m - 1.0), m < 1.0); }
    case TRUNCATED_SQUARE: { return select(0.0, 2.0 * (m - 1.0), inside); }
    // An even function of m: what z is made of need not know t.
    case SOFT_HINGE: { return -slope * tanhSlope(slope * (params.low * z + params.high)); }
    case LECUN_TANH: { return -1.16793333 * tanhSlope(0.666666667 * m); }
    case LOG_HINGE: { return select(0.0, params.low / (m - 2.0), inside); }
    default: { return -(stepsAround(slope, z) / slope); } // staircaseHinge
  }
}

fn targetPropagated(z: f32, g: f32) -> f32 {
  if (g == 0.0) { return 0.0; }
  let t = select(-1.0, 1.0, g < 0.0);
  let size = select(params.scale, abs(g), params.scale == 0.0);
  return t * (size * slopeOf(z, z * t));
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  for (var i = global.x; i < params.count; i += workgroups.x * PER_WORKGROUP) {
    let value = vec2f(z[i], g[i]);
    var result = 0.0;
    if (isNan(value.x)) {
      result = value.x;
    } else if (isNan(value.y)) {
      result = value.y;
    } else if (params.rule <= RAMP) {
      result = carried(value.x, value.y);
    } else {
      result = targetPropagated(value.x, value.y);
    }
    out[i] = result;
  }
}
