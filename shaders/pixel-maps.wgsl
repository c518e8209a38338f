// The steps of a covariance program with a pixel a lane: the map of one pair lives in workgroup memory, lanes stride
// over its pixels. Simple, for any map that fits; `covariance.wgsl` is the fast layout. MAP, SUMS, LANES are constants.
//
// Memory: 4 (MAP + SUMS) bytes. Cost per convolution and pixel: filterHeight + filterWidth reads and additions.

/** The pair's map, row-major. */
var<workgroup> map: array<f32, MAP>;
/** Sums along rows, between the two passes of a convolution. */
var<workgroup> sums: array<f32, SUMS>;

/** K'[y, x] = weight * (window sum of K) + bias: sums along rows, then along columns; every tap is added afresh. */
fn convolve(step: u32, lane: u32) {
  let inHeight = word(step, IN_SIZE);
  let inWidth = word(step, IN_SIZE + 1u);
  let outHeight = word(step, OUT_SIZE);
  let outWidth = word(step, OUT_SIZE + 1u);
  for (var p = lane; p < inHeight * outWidth; p += LANES) {
    let start = i32((p % outWidth) * word(step, STRIDE + 1u)) - i32(word(step, PAD + 1u));
    var sum = 0.0;
    for (var t = 0u; t < word(step, FILTER + 1u); t++) {
      let x = u32(start + i32(t * word(step, DILATION + 1u))); // a tap left of the map wraps to a large number
      if (x < inWidth) { sum += map[(p / outWidth) * inWidth + x]; }
    }
    sums[p] = sum;
  }
  workgroupBarrier();
  for (var p = lane; p < outHeight * outWidth; p += LANES) {
    let start = i32((p / outWidth) * word(step, STRIDE)) - i32(word(step, PAD));
    var sum = 0.0;
    for (var t = 0u; t < word(step, FILTER); t++) {
      let y = u32(start + i32(t * word(step, DILATION)));
      if (y < inHeight) { sum += sums[y * outWidth + p % outWidth]; }
    }
    map[p] = fma(sum, real(step, WEIGHT), real(step, BIAS));
  }
}

/** The read-out: map[0] = weight * (mean of the map) + bias. Lanes add their pixels, then meet in a tree. */
fn average(step: u32, lane: u32) {
  let pixels = word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
  var sum = 0.0;
  for (var p = lane; p < pixels; p += LANES) { sum += map[p]; }
  workgroupBarrier();
  for (var width = LANES; width > 1u; width /= 2u) {
    // At most MAP lanes have something to add: the partial sums fit where the map was.
    if (lane < min(width, MAP)) { map[lane] = sum; }
    workgroupBarrier();
    let other = lane + width / 2u;
    if (other < min(width, MAP)) { sum += map[other]; }
    workgroupBarrier();
  }
  if (lane == 0u) { map[0] = fma(sum, real(step, WEIGHT) / f32(pixels), real(step, BIAS)); }
}

/** Where pixel p of a map stands in its table: as it is, or (`turned`) with the map transposed. */
fn tablePlace(p: u32, height: u32, width: u32, turned: bool) -> u32 {
  return select(p, (p % width) * height + p / width, turned);
}
