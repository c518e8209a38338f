// Rows to e^(a - max) / sum, or to a - max - log sum: three passes over a row, which stays in a cache. The logarithm is
// log(1 + the sum without the largest term), so that an entry near 0 keeps its relative accuracy.
//
// A row that holds a NaN comes out as NaN. A compiler may assume that there is none: its bits are looked at.

//# include special-numbers
//# include exponential
//# include logarithm
//# include row-lanes

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
    var own = Largest(-infinity(), 0xffffffffu);
    var bad = 0u;
    for (var k = lane; k < params.columns; k += LANES) {
      let value = a[base + k];
      if (value > own.value || own.place == 0xffffffffu) { own = Largest(value, k); }
      if (isNan(value)) { bad = 1u; }
    }
    let most = meetLargest(own, local);
    var sum: Sum;
    for (var k = lane; k < params.columns; k += LANES) {
      if (k != most.place) { add(&sum, exponential(a[base + k] - most.value)); }
    }
    let others = meetSum(whole(&sum), local);
    let invalid = meetCount(bad, local) > 0u || (bitcast<u32>(most.value) & ~SIGN) == INFINITY;
    let factor = 1.0 / (1.0 + others);
    let logarithm = logarithmOfOnePlus(others);
    if (row < params.rows) {
      for (var k = lane; k < params.columns; k += LANES) {
        let x = a[base + k] - most.value;
        var value = x - logarithm;
        if (params.log == 0u) { value = exponential(x) * factor; }
        if (invalid) { value = notANumber(); }
        out[base + k] = value;
      }
    }
  }
}
