// A full covariance program on a tile of pairs, fused: output[i, j] = K(x_i, y_j), T(x_i, y_j), by pixel offsets.

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
