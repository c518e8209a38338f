// Average pooling in full programs: the map of offset s goes into the sums of all offsets D of the pool's output with
// |s - v D| <= w - 1 (stride v, window w). Output pixel P gets the taps v P + a of x, for all a in the window for which
// a + s - v D is in it too: that is the tap of y's window.
//
// Lanes take output pixels, so each sum is added to by one lane, in the order of the offsets. Windows of a few taps are
// read directly; of large ones the rows are summed first, that a global pool does not leave one lane with all the work.
// Windows that see many offsets have a rest beside each sum, what roundings have taken from it.

/** Windows of at most so many taps are read as they are. */
const FEW_TAPS = 16u;

fn floorDivide(a: i32, b: i32) -> i32 { return select(a / b, -((b - 1 - a) / b), a < 0); }

/** The offsets of a pool's output along one axis that see offset s: [first, end). */
fn seenBy(s: i32, window: i32, stride: i32, length: i32) -> vec2i {
  let first = -floorDivide(window - 1 - s, stride);
  let end = floorDivide(s + window - 1, stride) + 1;
  return vec2i(max(first, 1 - length), min(end, length));
}

fn pool(step: u32, offset: vec2i, lane: u32) {
  let inner = mapOf(word(step, IN_SIZE), word(step, IN_SIZE + 1u), offset);
  let source = slot(step, FROM);
  let window = vec2i(i32(word(step, FILTER)), i32(word(step, FILTER + 1u)));
  let stride = vec2i(i32(word(step, STRIDE)), i32(word(step, STRIDE + 1u)));
  let down = seenBy(offset.x, window.x, stride.x, i32(word(step, OUT_SIZE)));
  let along = seenBy(offset.y, window.y, stride.y, i32(word(step, OUT_SIZE + 1u)));
  let direct = word(step, FILTER) * word(step, FILTER + 1u) <= FEW_TAPS;
  meet(); // lanes read each other's pixels
  for (var dx = along.x; dx < along.y; dx++) {
    if (front(word(step, STATE_AXIS_X), dx) == ABSENT) { continue; }
    let shiftX = offset.y - stride.y * dx;
    let columns = vec2i(max(0, -shiftX), window.y - max(0, shiftX)); // taps [x, y) of a row
    let outWidth = word(step, OUT_SIZE + 1u) - u32(abs(dx));
    let left = max(0, -dx) * stride.y - i32(inner.x.y) + columns.x;
    let taps = u32(columns.y - columns.x);
    if (!direct) {
      for (var p = lane; p < inner.height * outWidth; p += LANES) {
        let place = placeOf(p, outWidth);
        let first = source + place.x * inner.width + u32(i32(place.y) * stride.y + left);
        var sum = Cell();
        for (var b = 0u; b < taps; b++) { sum += at(first + b); }
        put(sumsPlace() + p, sum);
      }
      meet();
    }
    for (var dy = down.x; dy < down.y; dy++) {
      if (front(word(step, STATE_AXIS_Y), dy) == ABSENT) { continue; }
      let shiftY = offset.x - stride.x * dy;
      let rows = vec2i(max(0, -shiftY), window.x - max(0, shiftY));
      let outHeight = word(step, OUT_SIZE) - u32(abs(dy));
      let top = max(0, -dy) * stride.x - i32(inner.x.x);
      let axes = vec2u(word(step, STATE_AXIS_Y), word(step, STATE_AXIS_X));
      let rest = restOf(axes.x);
      let state = sumsOf(word(step, STATE), axes.x, axes.y, vec2i(dy, dx), sideOf(offset));
      for (var p = lane; p < outHeight * outWidth; p += LANES) {
        let place = placeOf(p, outWidth);
        let start = i32(place.x) * stride.x + top;
        var sum = Cell();
        for (var a = rows.x; a < rows.y; a++) {
          let row = u32(start + a);
          if (direct) {
            let first = source + row * inner.width + u32(i32(place.y) * stride.y + left);
            for (var b = 0u; b < taps; b++) { sum += at(first + b); }
          } else {
            sum += at(sumsPlace() + row * outWidth + place.y);
          }
        }
        if (rest == 0u) {
          keep(state + p, stored(state + p) + sum);
        } else {
          let old = stored(state + p);
          let block = sealed(sum, axes.x);
          let next = sealed(old + block, axes.x);
          keep(state + p, next);
          keep(state + rest + p, stored(state + rest + p) + lostOf(old, block, next, axes.x));
        }
      }
    }
    meet(); // the next sums come where these are, and the next offset's map where this one is
  }
}
