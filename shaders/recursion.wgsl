// From products of points to kernel values, where they stand: recursions on a pair's covariance K, gap d = n - |K|, and
// NTK theta. The steps, and why there is a gap, are in sdk/covariance/recursion.ts; what the tables hold, in
// recursion-images.ts. A lane takes a pair, adjacent lanes adjacent columns; the grid strides over what exceeds 65,535
// workgroups.
//
//     memory     of a pair 4 bytes read and 4 written (8 with a theta), and of both tables, which caches hold, 8 bytes a step
//     registers  3 floats a slot; most programs have one
//     cost       of a relu about 25 instructions with its theta, half of them the two polynomials'
//
// Pairs that are close go back to their points, each lane on its own: 3 instructions a coordinate, and rare.
//
// WGSL permits acos, asin and exp errors of 6e-5 and more, so there are none here. P, A, B, T, E, Q and S are the minimax
// polynomials of assembly/covariance/recursionStrips.ts. Nothing here tells (x, z) from (z, x), however a compiler fuses
// products and sums: expressions are symmetric in the two images, term by term.

const WORDS = 24u; // of a step
const ROWS = 6u; // of a table, for each step

const INPUT = 0u;
const AFFINE = 1u;
const RECTIFIER = 2u;
const STEP = 3u;
const ERF = 4u;
const SQUARE = 5u;
const POWER = 6u;
const GAUSSIAN = 7u;

const HALF_PI = 1.57079632679;

//# include special-numbers
//# include exponential

fn quintic(u: f32, p0: f32, p1: f32, p2: f32, p3: f32, p4: f32, p5: f32) -> f32 {
  return fma(fma(fma(fma(fma(p5, u, p4), u, p3), u, p2), u, p1), u, p0);
}

/** w(c) = u sqrt(u) P(u): the arc of order 1. */
fn polynomialP(u: f32) -> f32 {
  return quintic(u, 0.150051598, 0.00751774787, 0.00113256993, 0.000446664963, -0.00011258328, 0.000118943471);
}

/** acos|c| / 2 pi = sqrt(u) A(u). */
fn polynomialA(u: f32) -> f32 {
  return quintic(u, 0.225077324, 0.0187980901, 0.00393409767, 0.0020950863, -0.000718920738, 0.000814244464);
}

/** The arc of order 2: u^(5/2) B(u). */
fn polynomialB(u: f32) -> f32 {
  return quintic(u, 0.480168687, 0.0171498734, 0.00213281458, 0.000448287213, 0.0000235766245, 0.0000767461838);
}

/** 1 - cos(x) for |x| <= pi / 2. */
fn turnOf(x: f32) -> f32 {
  let y = x * x;
  return y * fma(fma(fma(-0.0000234775598, y, 0.00138686656), y, -0.0416656743), y, 0.499999924);
}

/** acos(1 - g) for g in [0, 1]: sqrt(g) Q(g). */
fn arcCosine(g: f32) -> f32 {
  var q = fma(0.00125345745, g, -0.00213558243);
  q = fma(q, g, 0.00353599199);
  q = fma(q, g, 0.00134551845);
  q = fma(q, g, 0.00826283310);
  q = fma(q, g, 0.0264669124);
  q = fma(q, g, 0.117853631);
  q = fma(q, g, 1.41421354);
  return sqrt(g) * q;
}

/** asin(c) for c in [0, 1/2]: c S(c^2). */
fn arcSine(c: f32) -> f32 {
  return c * quintic(c * c, 0.999999996, 0.166667901, 0.0749443476, 0.0455501853, 0.0238581693, 0.0426356423);
}

fn power(value: f32, degree: u32) -> f32 {
  var base = value;
  var product = 1.0;
  for (var left = degree; left > 0u; left >>= 1u) {
    if ((left & 1u) == 1u) { product *= base; }
    base *= base;
  }
  return product;
}

/** What |a| + |b| has more than |a + b|: terms of different signs have a larger gap than the sum of theirs. */
fn crossing(a: f32, b: f32) -> f32 {
  return select(0.0, 2.0 * min(abs(a), abs(b)), (a < 0.0) != (b < 0.0));
}

/** A constant of the step whose words begin at `step`: 0 factor, 1 bias, 2 positive, 3 negative, 4 gain, 5 offset. */
fn real(step: u32, index: u32) -> f32 {
  return bitcast<f32>(program[step + 6u + index]);
}

/** A pair's entries in a row of the tables: `at` says where the step's rows begin, and which images. */
struct Entries {
  row: u32,
  rowPitch: u32,
  column: u32,
  columnPitch: u32,
}

fn product(at: Entries, row: u32) -> f32 {
  return rowTable[at.row + row * at.rowPitch] * columnTable[at.column + row * at.columnPitch];
}

fn turn(at: Entries, row: u32) -> f32 {
  return turnOf(rowTable[at.row + row * at.rowPitch] - columnTable[at.column + row * at.columnPitch]);
}

/** K, d and theta of a pair. */
fn begin(at: Entries, i: u32, j: u32, pair: u32) -> vec3f {
  let size = rowTable[at.row] + columnTable[at.column];
  let n = product(at, 2u);
  // Of unit vectors the product is the cosine.
  var k = n * output[pair];
  // The sign of a product is that of K, and the gap that of |K|; distances have no sign.
  let side = select(1.0, -1.0, params.angle == 1u && output[pair] < 0.0);
  var delta = size - side * output[pair];
  let close = delta < params.near * size;
  if (close) {
    var sum = 0.0;
    for (var c = 0u; c < params.floats; c++) {
      let difference = rowPoints[i * params.floats + c] - side * columnPoints[j * params.floats + c];
      sum = fma(difference, difference, sum);
    }
    delta = 0.5 * sum;
  }
  let d = n * delta;
  if (close) { k = side * (n - d); }
  return vec3f(k, d, 0.0);
}

/** What a step makes of K, d and theta. */
fn apply(step: u32, kind: u32, at: Entries, pair: vec3f) -> vec3f {
  let k = pair.x;
  let d = pair.y;
  let factor = real(step, 0u);
  if (kind == AFFINE) {
    var gap = factor * d;
    let bias = real(step, 1u);
    if (program[step + 5u] == 1u) { gap = fma(product(at, 2u), turn(at, 3u), gap) + crossing(factor * k, bias); }
    let value = fma(factor, k, bias);
    return vec3f(value, gap, fma(factor, pair.z, fma(real(step, 4u), value, real(step, 5u))));
  }
  if (kind >= POWER) {
    if (kind == POWER) {
      let value = power(k, program[step + 4u]);
      return vec3f(value, product(at, 2u) - abs(value), 0.0);
    }
    let distance = max(d, 0.0);
    let value = exponential(-factor * select(sqrt(2.0 * distance), distance, kind == GAUSSIAN));
    return vec3f(value, 1.0 - value, 0.0);
  }
  let rr = product(at, 1u);
  if (kind == ERF) {
    let z = k * rr;
    let c = abs(z);
    // 1 - |z|, the offset taken for one more coordinate.
    let turned = turn(at, 3u);
    let g = fma(real(step, 1u) + max(0.0, d), rr, turned);
    let isLarge = c > 0.5;
    let angle = select(arcSine(min(c, 0.5)), HALF_PI - arcCosine(min(g, 1.0)), isLarge);
    let value = factor * select(angle, -angle, z < 0.0);
    // Equal and opposite images have no gap, whatever their rounding.
    let gap = select(max(0.0, product(at, 2u) - factor * angle), 0.0, max(abs(d), turned) == 0.0);
    // sqrt(1 - z^2), never 0: there is an offset.
    let sine = sqrt(select(1.0 - c * c, g * (1.0 + c), isLarge));
    return vec3f(value, gap, pair.z * (factor * rr / sine));
  }
  let n = product(at, 0u);
  let near = max(0.0, d);
  let u = near * rr;
  let far = k < 0.0;
  if (kind == RECTIFIER) {
    let root = factor * sqrt(u);
    let slope = select(real(step, 2u), real(step, 3u), far);
    let arc = root * polynomialP(u);
    let value = fma(near, arc, select(slope, -slope, far) * k);
    // Below 0 comes only what was there, by a negative slope that is negative.
    let side = select(1.0, -1.0, value < 0.0);
    let flat = select(0.0, (real(step, 2u) - side * real(step, 3u)) * n, far);
    let gap = fma(side * near, slope - arc, flat);
    //# if NTK
    let derivative = fma(-root, polynomialA(u), slope);
    return vec3f(value, gap, pair.z * select(derivative, -derivative, far));
    //# else
    return vec3f(value, gap, 0.0);
    //# end
  }
  if (kind == STEP) {
    let part = factor * sqrt(u) * polynomialA(u);
    let rest = 0.5 * factor - part;
    let two = select(vec2f(rest, part), vec2f(part, rest), far);
    return vec3f(select(vec2f(), two, n > 0.0), 0.0);
  }
  let arc = n * n * (u * u * sqrt(u) * polynomialB(u));
  let value = select(fma(2.0 * k, k, n * n) - arc, arc, far);
  return vec3f(value, select(fma(2.0 * d, n + k, arc), fma(3.0 * n, n, -arc), far), 0.0);
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let pairs = params.rows * params.columns;
  let rowPitch = (params.rows + 3u) & ~3u;
  let columnPitch = (params.columns + 3u) & ~3u;
  for (var pair = global.x; pair < pairs; pair += workgroups.x * LANES) {
    let i = pair / params.columns;
    let j = pair % params.columns;
    var slots: array<vec3f, SLOTS>;
    var last = vec3f();
    for (var index = 0u; index < params.steps; index++) {
      let step = index * WORDS;
      let kind = program[step];
      let at = Entries(i + index * ROWS * rowPitch, rowPitch, j + index * ROWS * columnPitch, columnPitch);
      let to = program[step + 2u];
      if (kind == INPUT) {
        last = begin(at, i, j, pair);
      } else {
        last = apply(step, kind, at, slots[program[step + 1u]]);
        if (program[step + 3u] == 1u) {
          let across = crossing(last.x, slots[to].x);
          last += slots[to];
          last.y = fma(product(at, 4u), turn(at, 5u), last.y) + across;
        }
      }
      slots[to] = last;
    }
    if ((params.wanted & 1u) == 1u) { output[pair] = last.x; }
    if (params.wanted == 2u) { output[pair] = last.z; }
    if (params.wanted == 3u) { output[pairs + pair] = last.z; }
  }
}
