// out[c] = sum over n, p of a[n, c, p], and with products = 1 also out[channels + c] = sum of a (b - centre[c]).
// Bound by memory bandwidth; how lanes are laid out and sums joined stands in `channel-lanes.wgsl`.

//# include channel-lanes

fn terms(at: u32, centre: f32, sweep: u32) -> vec2f {
  let value = a[at];
  if (params.products == 0u) { return vec2f(value, 0.0); }
  return vec2f(value, value * (b[at] - centre));
}

@compute @workgroup_size(LANES * CHANNELS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  for (var first = group.x * CHANNELS; first < params.channels; first += groups.x * CHANNELS) {
    let channel = first + local % CHANNELS;
    let held = min(channel, params.channels - 1u); // lanes past the last channel repeat it, and store nothing
    var middle = 0.0;
    if (params.products != 0u) { middle = centre[held]; }
    let sums = meet(laneSums(held, local / CHANNELS, middle, 0u), local);
    if (local < CHANNELS && channel < params.channels) {
      out[channel] = sums.x;
      if (params.products != 0u) { out[params.channels + channel] = sums.y; }
    }
  }
}
