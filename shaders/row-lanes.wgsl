// Rows of a matrix, LANES lanes a row and ROWS rows a workgroup, as in `reduce.wgsl`: what softmax and the losses of class
// scores share. Every function here is called by all lanes of a workgroup, and its result is the same in all lanes of a row.
//
// Sums are pairwise: a lane adds its terms with `add`, chunks of them by a binary counter, `whole` is what it has in the end,
// and lanes meet in a tree.

const CHUNK = 16u;
/** Places of the binary counter: 2^20 chunks a lane are more elements than a buffer can hold. */
const PLACES = 20u;

var<workgroup> met: array<f32, ROWS * LANES>;
var<workgroup> places: array<u32, ROWS * LANES>;

struct Sum {
  chunk: f32,
  terms: u32,
  carry: array<f32, PLACES>,
}

fn add(sum: ptr<function, Sum>, term: f32) {
  (*sum).chunk += term;
  (*sum).terms++;
  if ((*sum).terms % CHUNK != 0u) { return; }
  var place = 0u;
  var total = (*sum).chunk;
  let before = (*sum).terms / CHUNK - 1u;
  for (; ((before >> place) & 1u) == 1u; place++) { total += (*sum).carry[place]; }
  (*sum).carry[place] = total;
  (*sum).chunk = 0.0;
}

fn whole(sum: ptr<function, Sum>) -> f32 {
  var total = (*sum).chunk;
  let chunks = (*sum).terms / CHUNK;
  for (var place = 0u; place < PLACES; place++) {
    if (((chunks >> place) & 1u) == 1u) { total += (*sum).carry[place]; }
  }
  return total;
}

/** The sum of a row's lanes. */
fn meetSum(value: f32, local: u32) -> f32 {
  let lane = local % LANES;
  met[local] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { met[local] += met[local + half]; }
    workgroupBarrier();
  }
  let total = met[local - lane];
  workgroupBarrier();
  return total;
}

/** The sum of whole numbers, in integers. */
fn meetCount(value: u32, local: u32) -> u32 {
  let lane = local % LANES;
  places[local] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { places[local] += places[local + half]; }
    workgroupBarrier();
  }
  let total = places[local - lane];
  workgroupBarrier();
  return total;
}

struct Largest {
  value: f32,
  /** The first place that holds it. */
  place: u32,
}

/** The largest of a row's lanes, and the first place that holds it. */
fn meetLargest(own: Largest, local: u32) -> Largest {
  let lane = local % LANES;
  met[local] = own.value;
  places[local] = own.place;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      let value = met[local + half];
      let place = places[local + half];
      if (value > met[local] || (value == met[local] && place < places[local])) {
        met[local] = value;
        places[local] = place;
      }
    }
    workgroupBarrier();
  }
  let best = Largest(met[local - lane], places[local - lane]);
  workgroupBarrier();
  return best;
}
