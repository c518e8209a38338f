// The maps of one offset of a pair, and the steps on them. A cell is (D, T), or D alone in programs without NTK: half the
// squared distance of two pixels' activations, and their NTK.
//
//     maps:  | slot 0 | slot 1 | ... | sums along rows, between the two passes of a convolution or pool |
//
// Maps are row-major, of the size that the offset leaves them. CELLS says how many cells stand in workgroup memory; with
// CELLS = 0 they do not fit, and stand in the pair's slice of `workspace`, behind its state.
//
// Pixel p of a map belongs to lane p mod LANES, in every map and in the state. So steps that work pixel by pixel follow
// each other without barriers; only what looks at neighbours (convolutions, pools, means) begins with one, and none of
// these ends while a lane may still be reading another's pixels.
//
// Needs: LANES, CELLS, NTK, HAS_*; firstEntry(i) and secondEntry(i), entry i of x's and y's table.

//# if NTK
alias Cell = vec2f;
fn cellOf(distance: f32, tangent: f32) -> Cell { return vec2f(distance, tangent); }
fn distanceOf(cell: Cell) -> f32 { return cell.x; }
//# else
alias Cell = f32;
fn cellOf(distance: f32, tangent: f32) -> Cell { return distance; }
fn distanceOf(cell: Cell) -> f32 { return cell; }
//# end

/** Where this workgroup's slice of `workspace` begins. */
var<private> slice: u32;

/** Cell `place` of the slice. */
fn stored(place: u32) -> Cell {
  //# if NTK
  return vec2f(workspace[slice + 2u * place], workspace[slice + 2u * place + 1u]);
  //# else
  return workspace[slice + place];
  //# end
}
fn keep(place: u32, cell: Cell) {
  //# if NTK
  workspace[slice + 2u * place] = cell.x;
  workspace[slice + 2u * place + 1u] = cell.y;
  //# else
  workspace[slice + place] = cell;
  //# end
}

/** All lanes, with everything that they wrote. */
fn meetAll() {
  storageBarrier();
  workgroupBarrier();
}

//# if CELLS > 0
var<workgroup> maps: array<Cell, CELLS>;

fn at(place: u32) -> Cell { return maps[place]; }
fn put(place: u32, cell: Cell) { maps[place] = cell; }
fn meet() { workgroupBarrier(); }
//# else
fn at(place: u32) -> Cell { return stored(params.statePixels + place); }
fn put(place: u32, cell: Cell) { keep(params.statePixels + place, cell); }
fn meet() { meetAll(); }
//# end

/** First cell of the map that `step` reads (FROM) or writes (TO), and of the sums. */
fn slot(step: u32, which: u32) -> u32 { return word(step, which) * params.mapPixels; }
fn sumsPlace() -> u32 { return params.slots * params.mapPixels; }

/** An offset and the map that it leaves of a whole one, given its word (height; the width follows) in a step. */
struct Map {
  height: u32,
  width: u32,
  /** From the map's first pixel to x's and to y's, by row and column. */
  x: vec2u,
  y: vec2u,
  wholeWidth: u32,
}
fn mapOf(height: u32, width: u32, offset: vec2i) -> Map {
  // None where windows lie so far apart, in the padding, that the two images share no pixel of the input.
  let size = vec2u(max(vec2i(i32(height), i32(width)) - abs(offset), vec2i()));
  return Map(size.x, size.y, vec2u(max(-offset, vec2i())), vec2u(max(offset, vec2i())), width);
}
fn outMap(step: u32, offset: vec2i) -> Map { return mapOf(word(step, OUT_SIZE), word(step, OUT_SIZE + 1u), offset); }

/** Row and column of pixel p, for fewer than 2^20 pixels: there the quotient is never rounded up to a whole number. */
fn placeOf(p: u32, width: u32) -> vec2u {
  let row = u32((f32(p) + 0.5) / f32(width));
  return vec2u(row, p - row * width);
}

/** Pixel of x, of y, in their whole maps. */
fn pixelOfX(map: Map, place: vec2u) -> u32 { return (place.x + map.x.x) * map.wholeWidth + place.y + map.x.y; }
fn pixelOfY(map: Map, place: vec2u) -> u32 { return (place.x + map.y.x) * map.wholeWidth + place.y + map.y.y; }

/** Stores a step's result at pixel p, or adds it to what is there. */
fn give(step: u32, p: u32, cell: Cell) {
  let place = slot(step, TO) + p;
  if (word(step, ACCUMULATE) == 1u) { put(place, at(place) + cell); } else { put(place, cell); }
}

/** A linear step's cell, from its sums: D' = factor D; T' = factor T + gain K' + offset where the step learns. */
fn weighed(step: u32, sum: Cell, map: Map, place: vec2u) -> Cell {
  let cell = sum * real(step, FACTOR);
  //# if NTK
  if (word(step, LEARNS) == 1u) {
    let entry = params.imageFloats + word(step, TABLE);
    let s = firstEntry(entry + pixelOfX(map, place));
    let s2 = secondEntry(entry + pixelOfY(map, place));
    let k = fma(s, s2, -gapOf(cell.x, s, s2));
    return cell + vec2f(0.0, fma(real(step, GAIN), k, real(step, OFFSET)));
  }
  //# end
  return cell;
}

/** The step at an offset of the map that decides: of a pool or a mean its input, else its output. */
fn runStep(step: u32, offset: vec2i, lane: u32) {
  let kind = word(step, KIND);
  switch kind {
    case INPUT: { input(step, offset, lane); }
    case CONV: { convolve(step, offset, lane); }
    case AFFINE: {
      let map = outMap(step, offset);
      for (var p = lane; p < map.height * map.width; p += LANES) {
        give(step, p, weighed(step, at(slot(step, FROM) + p), map, placeOf(p, map.width)));
      }
    }
    case POOL: { pool(step, offset, lane); }
    case MEAN: { average(step, lane); }
    default: {
      let map = outMap(step, offset);
      let entry = params.imageFloats + word(step, TABLE);
      for (var p = lane; p < map.height * map.width; p += LANES) {
        let place = placeOf(p, map.width);
        let s = firstEntry(entry + pixelOfX(map, place));
        let s2 = secondEntry(entry + pixelOfY(map, place));
        give(step, p, bend(step, kind, at(slot(step, FROM) + p), s, s2));
      }
    }
  }
}

/** D = factor * sum over channels of (x - y)^2 / 2, in partial sums of 16; no weight has acted yet: T = 0. */
fn input(step: u32, offset: vec2i, lane: u32) {
  let map = outMap(step, offset);
  let plane = word(step, OUT_SIZE) * map.wholeWidth;
  for (var p = lane; p < map.height * map.width; p += LANES) {
    let place = placeOf(p, map.width);
    let x = pixelOfX(map, place);
    let y = pixelOfY(map, place);
    var sum = 0.0;
    for (var start = 0u; start < word(step, CHANNELS); start += 16u) {
      var part = 0.0;
      for (var c = start; c < min(start + 16u, word(step, CHANNELS)); c++) {
        let difference = firstEntry(c * plane + x) - secondEntry(c * plane + y);
        part = fma(difference, difference, part);
      }
      sum += part;
    }
    give(step, p, cellOf(0.5 * real(step, FACTOR) * sum, 0.0));
  }
}

/**
 * D beside the map of an offset: where one image has a pixel and the other has padding K = 0, and D is half the pixel's
 * variance; elsewhere nothing. `place` counts from the map's first pixel, and at most one of the two is inside.
 */
fn beside(step: u32, place: vec2i, map: Map) -> f32 {
  let entry = params.imageFloats + word(step, EDGE);
  let whole = vec2u(word(step, IN_SIZE), map.wholeWidth);
  let x = vec2u(place + vec2i(map.x)); // left of an image wraps to a large number
  let y = vec2u(place + vec2i(map.y));
  var s = 0.0;
  if (all(x < whole)) { s = firstEntry(entry + x.x * map.wholeWidth + x.y); }
  if (all(y < whole)) { s = secondEntry(entry + y.x * map.wholeWidth + y.y); }
  return 0.5 * s * s;
}

/**
 * The box filter of a convolution: sums along rows, then along columns; every tap is added afresh. The rows above and
 * below the map that hold pixels of one image are summed along, too.
 */
fn convolve(step: u32, offset: vec2i, lane: u32) {
  let strides = vec2i(i32(word(step, STRIDE)), i32(word(step, STRIDE + 1u)));
  let source = slot(step, FROM);
  let inner = mapOf(word(step, IN_SIZE), word(step, IN_SIZE + 1u), offset * strides);
  let outer = outMap(step, offset);
  let edges = word(step, EDGE) != NO_TABLE && any(offset != vec2i());
  let pad = word(step, PAD);
  // Rows that the last window sees below the map.
  let bottom = (word(step, OUT_SIZE) - 1u) * word(step, STRIDE) + (word(step, FILTER) - 1u) * word(step, DILATION) + 1u;
  let shift = u32(abs(offset.x * strides.x));
  let above = select(0u, min(pad, shift), edges);
  let seen = i32(bottom) - i32(shift + pad + inner.height);
  let below = select(0u, min(u32(max(seen, 0)), shift), edges);
  let rows = inner.height + above + below;
  meet();
  for (var p = lane; p < rows * outer.width; p += LANES) {
    let place = placeOf(p, outer.width);
    let row = i32(place.x) - i32(above);
    let start = i32(place.y * word(step, STRIDE + 1u)) - i32(word(step, PAD + 1u));
    let width = select(0u, inner.width, u32(row) < inner.height); // of what the map itself has in this row
    var sum = Cell();
    for (var t = 0u; t < word(step, FILTER + 1u); t++) {
      let column = start + i32(t * word(step, DILATION + 1u));
      if (u32(column) < width) {
        sum += at(source + u32(row) * inner.width + u32(column));
      } else if (edges) {
        sum += cellOf(beside(step, vec2i(row, column), inner), 0.0);
      }
    }
    put(sumsPlace() + p, sum);
  }
  meet();
  for (var p = lane; p < outer.height * outer.width; p += LANES) {
    let place = placeOf(p, outer.width);
    let start = i32(place.x * word(step, STRIDE) + above) - i32(pad);
    var sum = Cell();
    for (var t = 0u; t < word(step, FILTER); t++) {
      let row = u32(start + i32(t * word(step, DILATION)));
      if (row < rows) { sum += at(sumsPlace() + row * outer.width + place.y); }
    }
    give(step, p, weighed(step, sum, outer, place));
  }
}

/** The read-out, one pixel at offset 0. Lanes add their pixels, then meet in a tree. */
fn average(step: u32, lane: u32) {
  let source = slot(step, FROM);
  let pixels = word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
  var sum = Cell();
  for (var p = lane; p < pixels; p += LANES) { sum += at(source + p); }
  meet(); // somebody may still be reading the sums
  for (var width = LANES; width > 1u; width /= 2u) {
    put(sumsPlace() + lane, sum);
    meet();
    if (lane + width / 2u < width) { sum += at(sumsPlace() + lane + width / 2u); }
    meet();
  }
  if (lane == 0u) {
    put(slot(step, TO), weighed(step, sum * (1.0 / f32(pixels)), outMap(step, vec2i()), vec2u()));
  }
}
