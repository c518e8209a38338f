// Reduces each row of a row-major matrix to one number. LANES lanes take a row, as many as it has columns up to a whole
// workgroup, and a workgroup takes ROWS rows at a time; the grid strides over what exceeds 65,535 workgroups.
//
// Sums are pairwise at three levels, so that rounding grows with the logarithm of the row's length: a lane adds chunks
// of CHUNK elements, each chunk on its own, then its chunk sums by the binary-counter scheme (`carry` holds, at place
// b, the sum of 2^b chunks that still waits for a partner), and the lanes' sums meet in a tree in workgroup memory.
//
//     row   | lane 0, lane 1, ... | lane 0, lane 1, ... |      adjacent lanes read adjacent addresses
//
// An empty row has sum 0, maximum -inf, minimum +inf, argmax 0.

const SUM = 0u;
const MAX = 1u;
const MIN = 2u;

const CHUNK = 16u;
/** Places of the binary counter: 2^20 chunks a lane are more elements than a buffer can hold. */
const PLACES = 20u;

struct Best {
  value: f32,
  column: u32,
}

var<workgroup> partial: array<Best, ROWS * LANES>;

//# include special-numbers

/** The sum of this lane's elements of the row. */
fn laneSum(base: u32, lane: u32) -> f32 {
  var carry: array<f32, PLACES>;
  var chunks = 0u;
  for (var start = lane; start < params.columns; start += CHUNK * LANES) {
    var sum = 0.0;
    let end = min(start + CHUNK * LANES, params.columns);
    for (var column = start; column < end; column += LANES) { sum += a[base + column]; }
    var place = 0u;
    for (; ((chunks >> place) & 1u) == 1u; place++) { sum += carry[place]; }
    carry[place] = sum;
    chunks++;
  }
  var total = 0.0;
  for (var place = 0u; place < PLACES; place++) {
    if (((chunks >> place) & 1u) == 1u) { total += carry[place]; }
  }
  return total;
}

/** The largest of this lane's elements (of their negatives for the minimum), and the first column that holds it. */
fn laneBest(base: u32, lane: u32) -> Best {
  let sign = select(1.0, -1.0, params.operation == MIN);
  var best = Best(-infinity(), 0xffffffffu);
  for (var column = lane; column < params.columns; column += LANES) {
    let value = sign * a[base + column];
    if (value > best.value || best.column == 0xffffffffu) { best = Best(value, column); }
  }
  return best;
}

/** The better of two: the larger value, and of equals the earlier column. */
fn better(x: Best, y: Best) -> Best {
  if (y.value > x.value || (y.value == x.value && y.column < x.column)) { return y; }
  return x;
}

@compute @workgroup_size(ROWS * LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  for (var first = group.x * ROWS; first < params.rows; first += groups.x * ROWS) {
    let row = first + local / LANES;
    let base = min(row, params.rows - 1u) * params.columns; // lanes past the last row repeat it, and store nothing
    if (params.operation == SUM) {
      partial[local] = Best(laneSum(base, lane), 0u);
    } else {
      partial[local] = laneBest(base, lane);
    }
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      if (lane < half) {
        let other = partial[local + half];
        if (params.operation == SUM) {
          partial[local].value += other.value;
        } else {
          partial[local] = better(partial[local], other);
        }
      }
      workgroupBarrier();
    }
    if (lane == 0u && row < params.rows) {
      let best = partial[local];
      switch params.operation {
        case SUM, MAX: { out[row] = best.value; }
        case MIN: { out[row] = -best.value; }
        default: { out[row] = f32(select(best.column, 0u, best.column == 0xffffffffu)); } // argmax
      }
    }
    workgroupBarrier();
  }
}
