// Losses of class scores, their gradients and the labels' ranks. LANES lanes take a row.
//
// Cross-entropy keeps its relative accuracy where a network is sure of itself. With e_k = e^(score_k - largest), and `others`
// the sum of e_k without the largest score's (the label's, where it is one of the largest):
//
//     loss = (largest - score of the label) + log(1 + others),  p_k = e_k / (1 + others)
//     p - 1 of the label = -others / (1 + others) where it is the largest, else at most -1/2 and taken as it stands
//
// A row that holds a NaN, or whose label is none of its classes, has loss NaN and gradient NaN. A compiler may assume that
// there is no NaN: its bits are looked at.

const CROSS_ENTROPY = 0u;
const HINGE = 1u;
const SQUARED_HINGE = 2u;
const TRUNCATED_HINGE = 3u;
const LOG_HINGE = 4u;

//# include special-numbers
//# include exponential
//# include logarithm
//# include row-lanes

struct RowState {
  label: u32,
  /** The label's score. */
  score: f32,
  most: Largest,
  /** The sum of all e^(score - most) but the largest. */
  others: f32,
  /** log(1 + others) */
  logarithm: f32,
  /** logHinge: classes but the label whose log-softmax is above -1. */
  violating: u32,
}

/** How far a class is from its margin: 1 - m. */
fn distanceOf(k: u32, x: f32, state: RowState) -> f32 {
  var value = x;
  if (params.operation == LOG_HINGE) { value = x - state.most.value - state.logarithm; }
  return select(1.0 + value, 1.0 - value, k == state.label);
}

fn hingeTerm(distance: f32) -> f32 {
  let term = max(distance, 0.0);
  switch params.operation {
    case SQUARED_HINGE: { return term * term; }
    case TRUNCATED_HINGE: { return min(term, 2.0); }
    default: { return term; }
  }
}

/** The derivative of `hingeTerm`; 0 where it has two. */
fn hingeSlope(distance: f32) -> f32 {
  if (params.operation == SQUARED_HINGE) { return 2.0 * max(distance, 0.0); }
  let inside = distance > 0.0 && (params.operation != TRUNCATED_HINGE || distance < 2.0);
  return select(0.0, 1.0, inside);
}

/** p - 1 of the label. */
fn labelMinusOne(state: RowState) -> f32 {
  if (state.most.place == state.label) { return -state.others / (1.0 + state.others); }
  return exponential(state.score - state.most.value) / (1.0 + state.others) - 1.0;
}

/** d loss / d score k. */
fn slopeOf(k: u32, x: f32, state: RowState) -> f32 {
  let own = k == state.label;
  if (params.operation != CROSS_ENTROPY && params.operation != LOG_HINGE) {
    let slope = hingeSlope(distanceOf(k, x, state));
    return select(slope, -slope, own);
  }
  // The derivatives with respect to log-softmax add up to `sum`: -1 of the label, and 1 of violating others.
  let sum = f32(state.violating) - 1.0;
  if (own && state.violating == 0u) { return labelMinusOne(state); }
  var direct = select(0.0, -1.0, own);
  if (params.operation == LOG_HINGE && !own && distanceOf(k, x, state) > 0.0) { direct = 1.0; }
  return direct - exponential(x - state.most.value) / (1.0 + state.others) * sum;
}

@compute @workgroup_size(ROWS * LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  for (var first = group.x * ROWS; first < params.rows; first += groups.x * ROWS) {
    let row = first + local / LANES;
    let held = min(row, params.rows - 1u); // lanes past the last row repeat it, and store nothing
    let base = held * params.classes;
    var state: RowState;
    state.label = labels[held];
    let known = state.label < params.classes;
    if (known) { state.score = scores[base + state.label]; }

    var own = Largest(-infinity(), 0xffffffffu);
    var bad = 0u;
    var before = 0u;
    for (var k = lane; k < params.classes; k += LANES) {
      let value = scores[base + k];
      // The label comes first of its equals: as place 0, with the others one further.
      let place = select(k + 1u, 0u, k == state.label);
      if (value > own.value || own.place == 0xffffffffu || (value == own.value && place < own.place)) {
        own = Largest(value, place);
      }
      if (isNan(value)) { bad = 1u; }
      if (!isNan(value) && (value > state.score || (value == state.score && k < state.label))) { before++; }
    }
    state.most = meetLargest(own, local);
    state.most.place = select(state.most.place - 1u, state.label, state.most.place == 0u);
    let rank = meetCount(before, local);

    var exponentials: Sum;
    for (var k = lane; k < params.classes; k += LANES) {
      if (k != state.most.place) { add(&exponentials, exponential(scores[base + k] - state.most.value)); }
    }
    state.others = meetSum(whole(&exponentials), local);
    state.logarithm = logarithmOfOnePlus(state.others);

    var hinges: Sum;
    var violating = 0u;
    for (var k = lane; k < params.classes; k += LANES) {
      let distance = distanceOf(k, scores[base + k], state);
      add(&hinges, hingeTerm(distance));
      if (params.operation == LOG_HINGE && k != state.label && distance > 0.0) { violating++; }
    }
    let hinge = meetSum(whole(&hinges), local);
    state.violating = meetCount(violating, local);

    var invalid = meetCount(bad, local) > 0u || !known;
    let unlabelled = !known || isNan(state.score);
    // Exponentials of differences to an infinity are none.
    let exponents = params.operation == CROSS_ENTROPY || params.operation == LOG_HINGE;
    if (exponents && (bitcast<u32>(state.most.value) & ~SIGN) == INFINITY) { invalid = true; }
    if (row < params.rows) {
      for (var k = lane; k < params.classes; k += LANES) {
        var slope = params.scale * slopeOf(k, scores[base + k], state);
        if (invalid) { slope = notANumber(); }
        gradient[base + k] = slope;
      }
      if (lane == 0u) {
        var loss = hinge;
        if (params.operation == CROSS_ENTROPY) { loss = state.most.value - state.score + state.logarithm; }
        if (invalid) { loss = notANumber(); }
        losses[row] = loss;
        ranks[row] = f32(select(rank, params.classes, unlabelled));
      }
    }
  }
}
