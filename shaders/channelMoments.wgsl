// out[c] = mean over n, p of a[n, c, p], out[channels + c] = mean of (a - mean)^2. Deviations are taken from the rounded mean
// m of a first pass, and put right by their own mean, as `assembly/channelMoments.ts` does and explains:
//
//     mean = m + E[a - m],  variance = E[(a - m)^2] - E[a - m]^2
//
// Bound by memory bandwidth; how lanes are laid out and sums joined stands in `channel-lanes.wgsl`.

const VALUES = 0u;

//# include channel-lanes

fn terms(at: u32, centre: f32, sweep: u32) -> vec2f {
  let value = a[at];
  if (sweep == VALUES) { return vec2f(value, 0.0); }
  let deviation = value - centre;
  return vec2f(deviation, deviation * deviation);
}

@compute @workgroup_size(LANES * CHANNELS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let size = f32(max(params.batch * params.pixels, 1u)); // of nothing, both are 0
  for (var first = group.x * CHANNELS; first < params.channels; first += groups.x * CHANNELS) {
    let channel = first + local % CHANNELS;
    let held = min(channel, params.channels - 1u); // lanes past the last channel repeat it, and store nothing
    let lane = local / CHANNELS;
    let middle = meet(laneSums(held, lane, 0.0, VALUES), local).x / size;
    let moments = meet(laneSums(held, lane, middle, VALUES + 1u), local) / size;
    if (local < CHANNELS && channel < params.channels) {
      out[channel] = middle + moments.x;
      out[params.channels + channel] = max(moments.y - moments.x * moments.x, 0.0);
    }
  }
}
