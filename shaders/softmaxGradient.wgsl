// The backward pass of softmax, y (g - sum of g y), and of its logarithm, g - e^y sum of g, row by row.

//# include special-numbers
//# include exponential
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
    var own: Sum;
    var bad = 0u;
    for (var k = lane; k < params.columns; k += LANES) {
      var weight = 1.0;
      if (params.log == 0u) { weight = y[base + k]; }
      add(&own, g[base + k] * weight);
      if (isNan(y[base + k]) || isNan(g[base + k])) { bad = 1u; }
    }
    let sum = meetSum(whole(&own), local);
    let invalid = meetCount(bad, local) > 0u;
    if (row < params.rows) {
      for (var k = lane; k < params.columns; k += LANES) {
        var value = fma(-exponential(y[base + k]), sum, g[base + k]);
        if (params.log == 0u) { value = y[base + k] * (g[base + k] - sum); }
        if (invalid) { value = notANumber(); }
        out[base + k] = value;
      }
    }
  }
}
