// A covariance program on each image paired with itself: K(x, x), and the table that `covariance` reads.
//
// One workgroup an image, a pixel a lane (see pixel-maps.wgsl). It costs one N-th of what the pairs cost.
//
// The table, per image, imageFloats + tablePixels floats:
//
//     | the image as it is | the variances before the first nonlinearity | before the second | ...
//
// as nonlinearities.wgsl says, pixel by pixel. `covariance` transposes a map in every convolution that has windows, and
// its lanes read along what is then the fast axis: so must its table stand. The program's words say where (TURNED).

//# include program
//# include nonlinearities
//# include pixel-maps

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = group.y * groups.x + group.x;
  takeSlice(first);
  for (var image = first; image < params.images; image += groups.x * groups.y) { interpret(image, lane); }
}

fn interpret(image: u32, lane: u32) {
  let source = image * params.imageFloats;
  let entry = image * (params.imageFloats + params.tablePixels);
  for (var p = lane; p < params.imageFloats; p += LANES) { table[entry + p] = images[source + p]; }
  for (var step = 0u; step < params.steps; step++) {
    let pixels = word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
    let kind = word(step, KIND);
    switch kind {
      case INPUT: {
        for (var p = lane; p < pixels; p += LANES) {
          give(step, p, real(step, FACTOR) * squares(source + p, pixels, word(step, CHANNELS)));
        }
      }
      case CONV: { convolve(step, lane); }
      case AFFINE: { scale(step, lane); }
      case RECTIFIER, STEP, ERF: {
        let map = slot(step, FROM);
        for (var p = lane; p < pixels; p += LANES) {
          let variance = at(map + p);
          table[entry + tablePlace(step, p)] = tableEntry(kind, variance);
          give(step, p, bendVariance(step, kind, variance));
        }
      }
      default: { average(step, lane); }
    }
    meet();
  }
  if (lane == 0u) { variances[image] = at(slot(params.steps - 1u, TO)); }
  meet(); // the next image's maps may stand there
}

/** The sum over channels of a pixel's square, in partial sums of 16. */
fn squares(start: u32, plane: u32, channels: u32) -> f32 {
  var sum = 0.0;
  for (var begin = 0u; begin < channels; begin += 16u) {
    var part = 0.0;
    for (var c = begin; c < min(begin + 16u, channels); c++) {
      let value = images[start + c * plane];
      part = fma(value, value, part);
    }
    sum += part;
  }
  return sum;
}
