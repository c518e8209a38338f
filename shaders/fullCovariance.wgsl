// A full covariance program on a tile of pairs, fused: output[i, j] = K(x_i, y_j), T(x_i, y_j), by pixel offsets.
//
// One workgroup a pair, one offset s between pixels of x and pixels of y after the other: sdk/covariance/offsets.ts plans
// which, and in which stages. There are as many workgroups as slices of `workspace`, and each takes one pair after the
// other.
//
//     workgroup memory    the maps of one offset, (H - |sy|) x (W - |sx|) cells (D, T)             full-maps.wgsl
//     the pair's slice    sums of pools at all offsets D, maps that outlive a stage                full-pools.wgsl, full-state.wgsl
//     the images' tables  standard deviations of every map that is asked for, spreads of pools     fullVariance.wgsl
//
// Nothing of size pixels^2 x pairs exists, and there are no atomics: cell p of a map, in workgroup memory and in the
// slice, belongs to lane p mod LANES, which alone writes it. So barriers stand only in front of steps that look at
// neighbours and between their two passes: two for a convolution, one for a pool of few taps.
//
// Bitwise: K(i, j) = K(j, i), and nothing depends on the tile. Offset -s of (y, x) is offset s of (x, y), pixel by pixel;
// all expressions are symmetric in the two images, however the compiler contracts products and sums; a pool's sums from
// either side of offset 0 stand apart (offsets.ts, "Order").
//
// Memory: cells of 8 bytes (4 without NTK): slots * mapPixels + (mapPixels, or a few rows more) of workgroup memory, which
// for one slot of 32 x 32 is 16.3 KiB; with 20 KiB allotted 11 pairs share a multiprocessor of 228 KiB, 1408 of its 2048
// lanes. A slice of myrtle5 is 0.64 MB.
//
// Cost of a pair of myrtle5's NTK on 32 x 32 x 3. Offsets have (sum of 32 - |s|)^2 = 32^4 = 1.05 million pixels in the
// first stage, 1/16 of that in the second, which has half the layers. A pixel takes 12 instructions for the input, and for
// each convolution and relu 6 reads of workgroup memory, 12 additions, about 40 for places and borders, 2 loads and 35
// for kappa_0 and kappa_1: 210 with two of them; 2.3e8 in all. Maps of a quarter of 32 x 32 on average leave a fifth of
// 128 lanes idle: 9 million warp instructions, of which a GPU of 132 multiprocessors issues 1e12 a second: a bound of
// 110,000 pairs/s. The pool behind it reads and writes 9/4 cells for every 4 pixels: 9.4 MB a pair through L2, and 1 TB/s
// at that rate. Later stages' maps are small and lanes idle there, but of 16 times fewer pixels.

//# include program
//# include full-state
//# include full-maps
//# include full-pools
//# include full-nonlinearities

/** Where the two images' tables begin. */
var<private> row: u32;
var<private> column: u32;

fn firstEntry(index: u32) -> f32 { return rowTable[row + index]; }
fn secondEntry(index: u32) -> f32 { return columnTable[column + index]; }

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  slice = group.x * params.sliceFloats;
  let imageEntries = params.imageFloats + params.tablePixels;
  let pairs = params.rows * params.columns;
  let outputs = (params.kinds & 1u) + (params.kinds >> 1u);
  for (var item = group.x; item < pairs; item += groups.x) {
    let i = item / params.columns;
    let j = item % params.columns;
    let side = i32(j) - i32(i);
    if (side == params.diagonal) {
      if (lane < outputs) { output[lane * pairs + item] = variances[lane * params.rows + i]; }
      continue;
    }
    if (params.lower == 1u && side > params.diagonal) { continue; }
    row = i * imageEntries;
    column = j * imageEntries;
    for (var stage = 0u; stage < params.stages; stage++) { runStage(stage, lane); }
    if (lane == 0u) { giveResult(item, pairs, at(slot(params.steps - 1u, TO))); }
  }
}

/** K = s s' - d, and T, as `kinds` says. */
fn giveResult(item: u32, pairs: u32, cell: Cell) {
  let entry = params.imageFloats + params.outputTable;
  let s = firstEntry(entry);
  let s2 = secondEntry(entry);
  var place = item;
  if ((params.kinds & 1u) != 0u) {
    output[place] = fma(s, s2, -gapOf(distanceOf(cell), s, s2));
    place += pairs;
  }
  //# if NTK
  if ((params.kinds & 2u) != 0u) { output[place] = cell.y; }
  //# end
}
