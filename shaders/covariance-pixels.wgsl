// A covariance program on a tile of pairs, one workgroup a pair, a pixel a lane (see pixel-maps.wgsl): the layout for
// maps whose lines do not fit in registers, and what `covariance.wgsl` is measured against. Same bindings, same tables.

//# include program
//# include arccosine
//# include pixel-maps

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = group.y * 65535u + group.x;
  if (item >= params.rows * params.columns) { return; }
  let row = item / params.columns;
  let column = item % params.columns;
  let offset = i32(column) - i32(row);
  if (params.lower == 1u && offset > params.diagonal) { return; }
  let x = row * (params.imageFloats + params.tablePixels);
  let y = column * (params.imageFloats + params.tablePixels);
  var turned = false;
  for (var step = 0u; step < params.steps; step++) {
    let height = word(step, IN_SIZE);
    let width = word(step, IN_SIZE + 1u);
    switch word(step, KIND) {
      case INPUT: {
        for (var p = lane; p < height * width; p += LANES) {
          map[p] = real(step, WEIGHT) * products(x + p, y + p, height * width, word(step, CHANNELS));
        }
      }
      case CONV: {
        convolve(step, lane);
        turned = turned != !isPointwise(step);
      }
      case RELU: {
        let s = params.imageFloats + word(step, TABLE);
        for (var p = lane; p < height * width; p += LANES) {
          let place = s + tablePlace(p, height, width, turned);
          map[p] = real(step, WEIGHT) * arccosine1(map[p], rowTable[x + place] * columnTable[y + place]);
        }
      }
      default: { average(step, lane); }
    }
    workgroupBarrier();
  }
  if (lane == 0u) { output[item] = select(map[0], variances[row], offset == params.diagonal); }
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
