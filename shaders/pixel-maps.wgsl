// The steps of a covariance program with a pixel a lane: lanes stride over the pixels of one pair's maps. Simple, for
// maps of any size; `covariance.wgsl` is the fast layout. Constants: LANES, and FLOATS, the floats of workgroup memory
// for maps. FLOATS = 0: the maps stand in the storage buffer `workspace`, a slice for every workgroup in flight.
//
//     maps:  | slot 0, row-major | slot 1 | ... | sums along rows, between the two passes of a convolution |
//
// Memory: 4 (slots mapPixels + sumPixels) bytes. Cost per convolution and pixel: filterHeight + filterWidth reads and
// additions. Between workgroup memory and workspace only the place differs: the values are the same to the last bit.

//# if FLOATS > 0
var<workgroup> maps: array<f32, FLOATS>;

fn takeSlice(group: u32) {}
fn at(place: u32) -> f32 { return maps[place]; }
fn put(place: u32, value: f32) { maps[place] = value; }
fn meet() { workgroupBarrier(); }
//# else
/** Where this workgroup's slice begins. */
var<private> slice: u32;

fn takeSlice(group: u32) { slice = group * params.sliceFloats; }
fn at(place: u32) -> f32 { return workspace[slice + place]; }
fn put(place: u32, value: f32) { workspace[slice + place] = value; }
fn meet() {
  storageBarrier();
  workgroupBarrier();
}
//# end

/** Sums of the lanes' shares of a map. */
var<workgroup> shares: array<f32, LANES>;

/** Pixel 0 of the map that `step` reads (FROM) or writes (TO). */
fn slot(step: u32, which: u32) -> u32 { return word(step, which) * params.mapPixels; }

/** Stores a step's result at pixel p, or adds it to what is there. */
fn give(step: u32, p: u32, value: f32) {
  let place = slot(step, TO) + p;
  if (word(step, ACCUMULATE) == 1u) { put(place, value + at(place)); } else { put(place, value); }
}

/** K' = weight * (window sum of K) + bias: sums along rows, then along columns; every tap is added afresh. */
fn convolve(step: u32, lane: u32) {
  let inHeight = word(step, IN_SIZE);
  let inWidth = word(step, IN_SIZE + 1u);
  let outHeight = word(step, OUT_SIZE);
  let outWidth = word(step, OUT_SIZE + 1u);
  let source = slot(step, FROM);
  let sums = params.slots * params.mapPixels;
  for (var p = lane; p < inHeight * outWidth; p += LANES) {
    let row = source + (p / outWidth) * inWidth;
    let start = i32((p % outWidth) * word(step, STRIDE + 1u)) - i32(word(step, PAD + 1u));
    var sum = 0.0;
    for (var t = 0u; t < word(step, FILTER + 1u); t++) {
      let x = u32(start + i32(t * word(step, DILATION + 1u))); // a tap left of the map wraps to a large number
      if (x < inWidth) { sum += at(row + x); }
    }
    put(sums + p, sum);
  }
  meet();
  for (var p = lane; p < outHeight * outWidth; p += LANES) {
    let column = sums + p % outWidth;
    let start = i32((p / outWidth) * word(step, STRIDE)) - i32(word(step, PAD));
    var sum = 0.0;
    for (var t = 0u; t < word(step, FILTER); t++) {
      let y = u32(start + i32(t * word(step, DILATION)));
      if (y < inHeight) { sum += at(column + y * outWidth); }
    }
    give(step, p, fma(sum, real(step, FACTOR), real(step, BIAS)));
  }
}

/** K' = weight * K + bias. */
fn scale(step: u32, lane: u32) {
  let source = slot(step, FROM);
  for (var p = lane; p < word(step, IN_SIZE) * word(step, IN_SIZE + 1u); p += LANES) {
    give(step, p, fma(at(source + p), real(step, FACTOR), real(step, BIAS)));
  }
}

/** The read-out, one pixel: weight * (mean of the map) + bias. Lanes add their pixels, then meet in a tree. */
fn average(step: u32, lane: u32) {
  let source = slot(step, FROM);
  let pixels = word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
  var sum = 0.0;
  for (var p = lane; p < pixels; p += LANES) { sum += at(source + p); }
  meet(); // the result may stand where the map did
  for (var width = LANES; width > 1u; width /= 2u) {
    shares[lane] = sum;
    workgroupBarrier();
    if (lane + width / 2u < width) { sum += shares[lane + width / 2u]; }
    workgroupBarrier();
  }
  if (lane == 0u) { put(slot(step, TO), fma(sum, real(step, FACTOR) / f32(pixels), real(step, BIAS))); }
}

/** Where the table of nonlinearity `step` has pixel p: maps stand transposed there if the line layout reads them so. */
fn tablePlace(step: u32, p: u32) -> u32 {
  let height = word(step, IN_SIZE);
  let width = word(step, IN_SIZE + 1u);
  return params.imageFloats + word(step, TABLE) + select(p, (p % width) * height + p / width, isTurned(step));
}
