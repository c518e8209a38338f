// A covariance program on a tile of pairs, one workgroup a pair, a pixel a lane (see pixel-maps.wgsl): the layout for
// maps whose lines do not fit in registers, and what `covariance.wgsl` is measured against. Same bindings, same tables.
//
// Maps that do not fit in workgroup memory either stand in device memory, layer by layer: then there are as many
// workgroups as slices, and each takes one pair after the other.

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
  for (var item = first; item < params.rows * params.columns; item += groups.x * groups.y) {
    let row = item / params.columns;
    let column = item % params.columns;
    let offset = i32(column) - i32(row);
    if (params.lower == 1u && offset > params.diagonal) { continue; }
    interpret(row, column, lane);
    if (lane == 0u) {
      output[item] = select(at(slot(params.steps - 1u, TO)), variances[row], offset == params.diagonal);
    }
    meet(); // the next pair's maps may stand there
  }
}

fn interpret(row: u32, column: u32, lane: u32) {
  let x = row * (params.imageFloats + params.tablePixels);
  let y = column * (params.imageFloats + params.tablePixels);
  for (var step = 0u; step < params.steps; step++) {
    let pixels = word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
    let kind = word(step, KIND);
    switch kind {
      case INPUT: {
        for (var p = lane; p < pixels; p += LANES) {
          give(step, p, real(step, FACTOR) * products(x + p, y + p, pixels, word(step, CHANNELS)));
        }
      }
      case CONV: { convolve(step, lane); }
      case AFFINE: { scale(step, lane); }
      case RECTIFIER, STEP, ERF: {
        let map = slot(step, FROM);
        for (var p = lane; p < pixels; p += LANES) {
          let place = tablePlace(step, p);
          give(step, p, bend(step, kind, at(map + p), rowTable[x + place], columnTable[y + place]));
        }
      }
      default: { average(step, lane); }
    }
    meet();
  }
}

/** The sum over channels of the two images' product at a pixel, in partial sums of 16. */
fn products(x: u32, y: u32, plane: u32, channels: u32) -> f32 {
  var sum = 0.0;
  for (var start = 0u; start < channels; start += 16u) {
    var part = 0.0;
    for (var c = start; c < min(start + 16u, channels); c++) {
      part = fma(rowTable[x + c * plane], columnTable[y + c * plane], part);
    }
    sum += part;
  }
  return sum;
}
