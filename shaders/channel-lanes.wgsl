// Two sums over the batch and the pixels of each channel, for `channelSums` and `channelMoments`. LANES lanes take a
// channel; where planes are short, CHANNELS channels stand side by side in a workgroup, so that adjacent lanes read adjacent
// addresses, and where they are long, CHANNELS = 1 and adjacent lanes take adjacent pixels.
//
// Sums are pairwise, as those of `reduce.wgsl`: a lane adds chunks of CHUNK terms, then its chunk sums by the binary-counter
// scheme (`carry` holds, at place b, the sum of 2^b chunks that still waits for a partner), and lanes meet in a tree.
//
// The including file gives terms(at, centre, sweep): what the element at an index adds to the two sums.

const CHUNK = 16u;
/** Places of the binary counter: 2^20 chunks a lane are more elements than a buffer can hold. */
const PLACES = 20u;

var<workgroup> partial: array<vec2f, LANES * CHANNELS>;

/** The sums of this lane's terms. */
fn laneSums(channel: u32, lane: u32, centre: f32, sweep: u32) -> vec2f {
  let count = params.batch * params.pixels;
  var carry: array<vec2f, PLACES>;
  var chunks = 0u;
  for (var start = lane; start < count; start += CHUNK * LANES) {
    var sum = vec2f();
    let end = min(start + CHUNK * LANES, count);
    for (var i = start; i < end; i += LANES) {
      let at = (i / params.pixels * params.channels + channel) * params.pixels + i % params.pixels;
      sum += terms(at, centre, sweep);
    }
    var place = 0u;
    for (; ((chunks >> place) & 1u) == 1u; place++) { sum += carry[place]; }
    carry[place] = sum;
    chunks++;
  }
  var total = vec2f();
  for (var place = 0u; place < PLACES; place++) {
    if (((chunks >> place) & 1u) == 1u) { total += carry[place]; }
  }
  return total;
}

/** The sums of a channel's lanes, in all of them; `local` = lane CHANNELS + the channel's place. */
fn meet(sums: vec2f, local: u32) -> vec2f {
  partial[local] = sums;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (local < half * CHANNELS) { partial[local] += partial[local + half * CHANNELS]; }
    workgroupBarrier();
  }
  let total = partial[local % CHANNELS];
  workgroupBarrier();
  return total;
}
