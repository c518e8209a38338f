// A covariance program on each image paired with itself: K(x, x), and the table that `covariance` reads.
//
// One workgroup an image, a pixel a lane (see pixel-maps.wgsl). It costs one N-th of what the pairs cost.
//
// The table, per image, imageFloats + tablePixels floats:
//
//     | the image as it is | s before the first relu | s before the second | ...      s = sqrt(K(x, x)), pixel by pixel
//
// `covariance` transposes its map once in every convolution that has windows, and its lanes read along what is then
// the fast axis. So s is stored transposed after an odd number of such convolutions (`turned`).

//# include program
//# include pixel-maps

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let image = group.y * 65535u + group.x;
  if (image >= params.images) { return; }
  let source = image * params.imageFloats;
  let entry = image * (params.imageFloats + params.tablePixels);
  for (var p = lane; p < params.imageFloats; p += LANES) { table[entry + p] = images[source + p]; }
  var turned = false;
  for (var step = 0u; step < params.steps; step++) {
    let height = word(step, IN_SIZE);
    let width = word(step, IN_SIZE + 1u);
    switch word(step, KIND) {
      case INPUT: {
        for (var p = lane; p < height * width; p += LANES) {
          map[p] = real(step, WEIGHT) * squares(source + p, height * width, word(step, CHANNELS));
        }
      }
      case CONV: {
        convolve(step, lane);
        turned = turned != !isPointwise(step);
      }
      case RELU: {
        let s = entry + params.imageFloats + word(step, TABLE);
        for (var p = lane; p < height * width; p += LANES) {
          table[s + tablePlace(p, height, width, turned)] = sqrt(max(map[p], 0.0));
          map[p] *= 0.5 * real(step, WEIGHT); // kappa_1(1) = 1/2
        }
      }
      default: { average(step, lane); }
    }
    workgroupBarrier();
  }
  if (lane == 0u) { variances[image] = map[0]; }
}

/** The sum over channels of a pixel's square, in partial sums of 16. */
fn squares(at: u32, plane: u32, channels: u32) -> f32 {
  var sum = 0.0;
  for (var start = 0u; start < channels; start += 16u) {
    var part = 0.0;
    for (var c = start; c < min(start + 16u, channels); c++) {
      let value = images[at + c * plane];
      part = fma(value, value, part);
    }
    sum += part;
  }
  return sum;
}
