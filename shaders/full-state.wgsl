// Full programs: stages, offsets, and what is kept between stages, in the pair's state. The words are those of
// sdk/covariance/encode-full.ts, which explains them; they are read at uniform places.
//
// The state is the head of the pair's slice of `workspace`. Cell p of a map there belongs to the lane of pixel p, which
// alone adds to it, stores and loads it: no barrier inside a stage, and no atomics.

const GAIN = 34u;
const OFFSET = 35u;
const LEARNS = 40u;
const AXIS_Y = 41u;
const AXIS_X = 42u;
const RATIO_Y = 43u;
const RATIO_X = 44u;
const STATE = 45u; // of pools
const EDGE = 45u; // of convolutions
const STATE_AXIS_Y = 46u;
const STATE_AXIS_X = 47u;

const STAGE_WORDS = 10u;
const TRANSFER_WORDS = 10u;
const ABSENT = 0xffffffffu;
const NO_TABLE = 0xffffffffu;

/** Which of a pool's sums: from base offset 0, from those after it, from those before it. */
const OWN = 0u;
const AFTER = 1u;
const BEFORE = 2u;

fn sideOf(offset: vec2i) -> u32 {
  let sign = select(sign(offset.x), sign(offset.y), offset.x == 0);
  return select(select(OWN, AFTER, sign > 0), BEFORE, sign < 0);
}

/** Lines in front of those of offset s of an axis, or ABSENT. */
fn front(axis: u32, s: i32) -> u32 {
  let length = i32(program[axis]);
  if (abs(s) >= length) { return ABSENT; }
  return program[axis + 2u + u32(length - 1 + s)];
}

/** First cell of an offset's map in the state; of a pool, of the sums from one side. */
fn sumsOf(state: u32, axisY: u32, axisX: u32, offset: vec2i, side: u32) -> u32 {
  let length = program[axisY];
  let frontY = program[axisY + 2u + side * (2u * length - 1u) + u32(i32(length) - 1 + offset.x)];
  return state + frontY * program[axisX + 1u] + (length - u32(abs(offset.x))) * front(axisX, offset.y);
}

/** Cells from each of a pool's sums to its rest, by the vertical axis of its state; 0: there are none. */
fn restOf(axisY: u32) -> u32 { return program[axisY + 2u + 3u * (2u * program[axisY] - 1u)]; }

/** A number as it is, behind what no compiler sees through: a word of the program that is 0. */
fn sealedReal(value: f32, axisY: u32) -> f32 {
  let nought = program[axisY + 3u + 3u * (2u * program[axisY] - 1u)];
  return bitcast<f32>(bitcast<u32>(value) ^ nought);
}
fn sealed(cell: Cell, axisY: u32) -> Cell {
  //# if NTK
  return vec2f(sealedReal(cell.x, axisY), sealedReal(cell.y, axisY));
  //# else
  return sealedReal(cell, axisY);
  //# end
}

/** What rounding takes from `a + b`, whose rounded sum is `sum`; sealed, as compilers may reorder sums (Knuth). */
fn lostOf(a: Cell, b: Cell, sum: Cell, axisY: u32) -> Cell {
  let part = sealed(sum - a, axisY);
  return (a - sealed(sum - part, axisY)) + (b - part);
}

/** Whether a map whose axes begin at word `words` is wanted at a base offset. */
fn isNeeded(words: u32, base: vec2i) -> bool {
  let ratio = vec2i(i32(program[words + 2u]), i32(program[words + 3u]));
  let offset = base / ratio;
  if (any(offset * ratio != base)) { return false; }
  return front(program[words], offset.x) != ABSENT && front(program[words + 1u], offset.y) != ABSENT;
}

fn offsetAt(words: u32, base: vec2i) -> vec2i {
  return base / vec2i(i32(program[words + 2u]), i32(program[words + 3u]));
}

/** A stage on the pair whose tables firstEntry and secondEntry read. */
fn runStage(stage: u32, lane: u32) {
  let words = params.stagesAt + stage * STAGE_WORDS;
  meetAll(); // what the last stage did with the state
  for (var i = 0u; i < program[words + 9u]; i++) {
    let clear = program[words + 8u] + 2u * i;
    for (var p = lane; p < program[clear + 1u]; p += LANES) { keep(program[clear] + p, Cell()); }
  }
  meetAll();
  for (var i = 0u; i < program[words + 3u]; i++) {
    let packed = program[program[words + 2u] + i];
    let base = vec2i(bitcast<i32>(packed << 16u) >> 16u, bitcast<i32>(packed) >> 16u);
    for (var j = 0u; j < program[words + 5u]; j++) {
      let transfer = program[words + 4u] + j * TRANSFER_WORDS;
      if (isNeeded(transfer + 2u, base)) { loadMap(transfer, offsetAt(transfer + 2u, base), lane); }
    }
    for (var step = program[words]; step < program[words + 1u]; step++) {
      let axes = step * STEP_WORDS + AXIS_Y;
      if (isNeeded(axes, base)) { runStep(step, offsetAt(axes, base), lane); }
    }
    for (var j = 0u; j < program[words + 7u]; j++) {
      let transfer = program[words + 6u] + j * TRANSFER_WORDS;
      if (isNeeded(transfer + 2u, base)) { storeMap(transfer, offsetAt(transfer + 2u, base), lane); }
    }
  }
}

fn storeMap(transfer: u32, offset: vec2i, lane: u32) {
  let axisY = program[transfer + 2u];
  let axisX = program[transfer + 3u];
  let state = sumsOf(program[transfer + 1u], axisY, axisX, offset, OWN);
  let map = mapOf(program[axisY], program[axisX], offset);
  let source = program[transfer] * params.mapPixels;
  for (var p = lane; p < map.height * map.width; p += LANES) { keep(state + p, at(source + p)); }
}

/** A map as it was, or what a pool makes of its sums: their mean, D less by half of both images' spreads. */
fn loadMap(transfer: u32, offset: vec2i, lane: u32) {
  let axisY = program[transfer + 2u];
  let axisX = program[transfer + 3u];
  let state = sumsOf(program[transfer + 1u], axisY, axisX, offset, OWN);
  let map = mapOf(program[axisY], program[axisX], offset);
  let home = program[transfer] * params.mapPixels;
  let table = program[transfer + 7u];
  if (table == NO_TABLE) {
    for (var p = lane; p < map.height * map.width; p += LANES) { put(home + p, stored(state + p)); }
    return;
  }
  let factor = bitcast<f32>(program[transfer + 6u]);
  let entry = params.imageFloats + table;
  if (restOf(axisY) > 0u) {
    for (var p = lane; p < map.height * map.width; p += LANES) {
      let place = placeOf(p, map.width);
      let total = largeTotal(program[transfer + 1u], axisY, axisX, offset, p);
      let x = entry + pixelOfX(map, place);
      let y = entry + pixelOfY(map, place);
      let pixels = program[axisY] * map.wholeWidth;
      let mine = apartFrom(total, firstEntry(x), firstEntry(x + pixels), axisY);
      let other = apartFrom(total, secondEntry(y), secondEntry(y + pixels), axisY);
      put(home + p, withDistance(factor * total.sum, 0.5 * factor * (mine + other)));
    }
    return;
  }
  for (var p = lane; p < map.height * map.width; p += LANES) {
    let place = placeOf(p, map.width);
    let spreads = firstEntry(entry + pixelOfX(map, place)) + secondEntry(entry + pixelOfY(map, place));
    let mean = factor * pooled(program[transfer + 1u], axisY, axisX, offset, p);
    // The product stays rounded, as it is in the spreads: the same pixel of equal images has D = 0 exactly.
    let distance = fma(-0.5, spreads, distanceOf(mean));
    put(home + p, withDistance(mean, distance));
  }
}

fn withDistance(cell: Cell, distance: f32) -> Cell {
  //# if NTK
  return vec2f(distance, cell.y);
  //# else
  return distance;
  //# end
}

/** A large pool's sum and, apart, what rounding it has lost. */
struct Total {
  sum: Cell,
  rest: Cell,
}
fn largeTotal(state: u32, axisY: u32, axisX: u32, offset: vec2i, p: u32) -> Total {
  let own = sumsOf(state, axisY, axisX, offset, OWN) + p;
  let after = sumsOf(state, axisY, axisX, offset, AFTER) + p;
  let before = sumsOf(state, axisY, axisX, offset, BEFORE) + p;
  let rest = restOf(axisY);
  var whole = stored(own);
  var rests = stored(own + rest);
  if (after != own) {
    let sides = sealed(stored(after) + stored(before), axisY);
    let lost = lostOf(stored(after), stored(before), sides, axisY);
    let all = sealed(sides + whole, axisY);
    rests = ((stored(after + rest) + stored(before + rest)) + rests) + (lost + lostOf(sides, whole, all, axisY));
    whole = all;
  }
  rests = sealed(rests, axisY);
  let sum = sealed(whole + rests, axisY);
  return Total(sum, sealed(lostOf(whole, rests, sum, axisY), axisY));
}

/** A distance's total less a spread, which comes in two parts as well: small where images have mean zero, yet exact. */
fn apartFrom(total: Total, spread: f32, rest: f32, axisY: u32) -> f32 {
  return sealedReal(distanceOf(total.sum) - spread, axisY) + sealedReal(distanceOf(total.rest) - rest, axisY);
}

/** A pool's sum at pixel p of an offset: near offsets have three. */
fn pooled(state: u32, axisY: u32, axisX: u32, offset: vec2i, p: u32) -> Cell {
  let own = sumsOf(state, axisY, axisX, offset, OWN);
  let after = sumsOf(state, axisY, axisX, offset, AFTER);
  let sum = stored(own + p);
  if (after == own) { return sum; }
  return stored(after + p) + stored(sumsOf(state, axisY, axisX, offset, BEFORE) + p) + sum;
}
