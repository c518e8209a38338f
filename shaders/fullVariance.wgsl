// A full covariance program on each image paired with itself: K(x, x), T(x, x), and the table that `fullCovariance` reads.
//
// One workgroup an image, a pixel a lane. Stage by stage: first the variances of the stage's maps, in the image's slice of
// `workspace` behind state and maps, which give the standard deviations that the stage looks up; then the stage itself,
// on the pair (x, x) at all offsets; then the spreads within the windows of its pools, by which the variances of means
// fall short of mean variances.
//
// The table, per image, imageFloats + tablePixels floats:  | the image as it is | standard deviations and spreads |

//# include program
//# include full-state
//# include full-maps
//# include full-pools
//# include full-nonlinearities

/** Where the image's table begins. */
var<private> image: u32;

fn firstEntry(index: u32) -> f32 { return table[image + index]; }
fn secondEntry(index: u32) -> f32 { return table[image + index]; }

/** Cells in front of the variances of slot 0; a spare map follows the last slot's. */
const CELL_FLOATS = 1u + NTK;
fn variancePlace(index: u32) -> u32 {
  return slice + CELL_FLOATS * (params.statePixels + SPILLED) + index * params.mapPixels;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  slice = group.x * params.sliceFloats;
  for (var item = group.x; item < params.images; item += groups.x) {
    image = item * (params.imageFloats + params.tablePixels);
    let source = item * params.imageFloats;
    for (var p = lane; p < params.imageFloats; p += LANES) { table[image + p] = images[source + p]; }
    for (var stage = 0u; stage < params.stages; stage++) {
      let words = params.stagesAt + stage * STAGE_WORDS;
      meetAll();
      for (var step = program[words]; step < program[words + 1u]; step++) {
        runVariance(step, lane);
        meetAll();
      }
      runStage(stage, lane);
      for (var step = program[words]; step < program[words + 1u]; step++) {
        if (word(step, KIND) == POOL) { takeSpreads(step, lane); }
      }
    }
    if (lane == 0u) {
      let variance = workspace[variancePlace(word(params.steps - 1u, TO))];
      table[image + params.imageFloats + params.outputTable] = sqrt(variance);
      var place = item;
      if ((params.kinds & 1u) != 0u) {
        variances[place] = variance;
        place += params.images;
      }
      //# if NTK
      if ((params.kinds & 2u) != 0u) { variances[place] = at(slot(params.steps - 1u, TO)).y; }
      //# end
    }
  }
}

fn entryOf(step: u32) -> u32 { return image + params.imageFloats + word(step, TABLE); }

/** Stores the variance behind a step, or adds it. */
fn giveVariance(step: u32, p: u32, variance: f32) {
  let place = variancePlace(word(step, TO)) + p;
  workspace[place] = variance + select(0.0, workspace[place], word(step, ACCUMULATE) == 1u);
}

fn runVariance(step: u32, lane: u32) {
  let source = variancePlace(word(step, FROM));
  let inPixels = word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
  let outPixels = word(step, OUT_SIZE) * word(step, OUT_SIZE + 1u);
  let kind = word(step, KIND);
  switch kind {
    case INPUT: {
      for (var p = lane; p < outPixels; p += LANES) {
        giveVariance(step, p, real(step, FACTOR) * squares(p, outPixels, word(step, CHANNELS)));
      }
    }
    case RECTIFIER, STEP, ERF: {
      for (var p = lane; p < outPixels; p += LANES) {
        let variance = workspace[source + p];
        table[entryOf(step) + p] = sqrt(variance);
        giveVariance(step, p, bendVariance(step, kind, variance));
      }
    }
    default: {
      // Through the spare map, as a step's result may stand where its input does.
      let spare = variancePlace(params.slots);
      if (kind == CONV) {
        if (word(step, EDGE) != NO_TABLE) {
          let edge = image + params.imageFloats + word(step, EDGE);
          for (var p = lane; p < inPixels; p += LANES) { table[edge + p] = sqrt(workspace[source + p]); }
        }
      }
      let large = kind == POOL && restOf(word(step, STATE_AXIS_Y)) > 0u;
      for (var p = lane; p < outPixels; p += LANES) {
        if (large) {
          workspace[spare + p] = largeSum(step, source, p);
        } else {
          workspace[spare + p] = linearVariance(step, kind, source, p);
        }
      }
      meetAll();
      for (var p = lane; p < outPixels; p += LANES) {
        let variance = workspace[spare + p];
        if (word(step, LEARNS) == 1u) { table[entryOf(step) + p] = sqrt(variance); }
        giveVariance(step, p, variance);
      }
    }
  }
}

/** Pixel p behind a linear step or a pool: windows tap by tap, in partial sums of rows. */
fn linearVariance(step: u32, kind: u32, source: u32, p: u32) -> f32 {
  let height = word(step, IN_SIZE);
  let width = word(step, IN_SIZE + 1u);
  if (kind == AFFINE) { return fma(workspace[source + p], real(step, FACTOR), real(step, BIAS)); }
  if (kind == MEAN) {
    var sum = 0.0;
    for (var row = 0u; row < height; row++) {
      var part = 0.0;
      for (var column = 0u; column < width; column++) { part += workspace[source + row * width + column]; }
      sum += part;
    }
    return fma(sum, real(step, FACTOR) / f32(height * width), real(step, BIAS));
  }
  let place = placeOf(p, word(step, OUT_SIZE + 1u));
  let top = i32(place.x * word(step, STRIDE)) - i32(word(step, PAD));
  let left = i32(place.y * word(step, STRIDE + 1u)) - i32(word(step, PAD + 1u));
  var sum = 0.0;
  for (var a = 0u; a < word(step, FILTER); a++) {
    let row = u32(top + i32(a * word(step, DILATION)));
    if (row >= height) { continue; }
    var part = 0.0;
    for (var b = 0u; b < word(step, FILTER + 1u); b++) {
      let column = u32(left + i32(b * word(step, DILATION + 1u)));
      if (column < width) { part += workspace[source + row * width + column]; }
    }
    sum += part;
  }
  if (kind == POOL) { return sum / f32(word(step, FILTER) * word(step, FILTER + 1u)); }
  return fma(sum, real(step, FACTOR), real(step, BIAS));
}

/** The sum of the variances in a large pool's window; its rest goes where the rest of the spread will stand. */
fn largeSum(step: u32, source: u32, p: u32) -> f32 {
  let axisY = word(step, STATE_AXIS_Y);
  let place = placeOf(p, word(step, OUT_SIZE + 1u));
  let top = place.x * word(step, STRIDE);
  let left = place.y * word(step, STRIDE + 1u);
  var sum = 0.0;
  var rest = 0.0;
  for (var a = 0u; a < word(step, FILTER); a++) {
    let row = source + (top + a) * word(step, IN_SIZE + 1u) + left;
    for (var b = 0u; b < word(step, FILTER + 1u); b++) {
      let value = workspace[row + b];
      let next = sealedReal(sum + value, axisY);
      // As `lostOf`, of a number that is no cell.
      let part = sealedReal(next - sum, axisY);
      rest += (sum - sealedReal(next - part, axisY)) + (value - part);
      sum = next;
    }
  }
  table[entryOf(step) + word(step, OUT_SIZE) * word(step, OUT_SIZE + 1u) + p] = rest;
  return sum;
}

/** The sum over channels of a pixel's square, in partial sums of 16. */
fn squares(p: u32, plane: u32, channels: u32) -> f32 {
  var sum = 0.0;
  for (var begin = 0u; begin < channels; begin += 16u) {
    var part = 0.0;
    for (var c = begin; c < min(begin + 16u, channels); c++) {
      let value = table[image + c * plane + p];
      part = fma(value, value, part);
    }
    sum += part;
  }
  return sum;
}

/** The spreads of a pool, and what they leave of its variances. The lane that reads a pixel's sums has added them. */
fn takeSpreads(step: u32, lane: u32) {
  let place = variancePlace(word(step, TO));
  let axisY = word(step, STATE_AXIS_Y);
  let pixels = word(step, OUT_SIZE) * word(step, OUT_SIZE + 1u);
  if (restOf(axisY) > 0u) {
    let taps = f32(word(step, FILTER) * word(step, FILTER + 1u));
    for (var p = lane; p < pixels; p += LANES) {
      let total = largeTotal(word(step, STATE), axisY, word(step, STATE_AXIS_X), vec2i(), p);
      let spread = distanceOf(total.sum);
      let rest = distanceOf(total.rest);
      // taps * variances - spread: the sum of variances in two parts of 12 bits, whose products are exact.
      let sum = workspace[place + p];
      let head = bitcast<f32>(bitcast<u32>(sum) & 0xfffff000u);
      let tail = fma(taps, sum - head, taps * table[entryOf(step) + pixels + p]);
      let left = sealedReal(sealedReal(taps * head, axisY) - spread, axisY) + sealedReal(tail - rest, axisY);
      table[entryOf(step) + p] = spread;
      table[entryOf(step) + pixels + p] = rest;
      workspace[place + p] = max(real(step, FACTOR) * left, 0.0);
    }
    return;
  }
  for (var p = lane; p < pixels; p += LANES) {
    let sum = pooled(word(step, STATE), word(step, STATE_AXIS_Y), word(step, STATE_AXIS_X), vec2i(), p);
    let spread = distanceOf(real(step, FACTOR) * sum);
    table[entryOf(step) + p] = spread;
    workspace[place + p] = max(workspace[place + p] - spread, 0.0);
  }
}
