// Normal numbers of a random stream, times a scale. A lane makes a Philox 4x32-10 block of four words, and of them two
// Box-Muller pairs; the words are those of `sdk/engine/rng.ts`, the numbers are rounded to float32 on the way:
//
//     u = (first + 1) 2^-32,  r = sqrt(-2 log u),  t = second 2^-32 turns,  r cos t and r sin t
//
// WGSL's log, sin and cos err by 2^-11 and more, so all three are series here, and what cancels is done in integers: 1 - u
// and the distance of t to the nearest quarter turn. Errors stay within 1e-6 of each number.

//# include philox

/** 2 artanh(s) for |s| <= 1/3; the next term of the series is below 2^-26. */
fn artanhTwice(s: f32) -> f32 {
  let z = s * s;
  var series = 1.0 / 15.0;
  //# for i in 0 .. 7
  series = fma(series, z, 1.0 / $(13 - 2 * i).0);
  //# end
  return 2.0 * s * series;
}

/** -log((word + 1) 2^-32). */
fn negativeLog(word: u32) -> f32 {
  if (word >= 0x80000000u) {
    // u = 1 - d with d = ~word 2^-32 exactly: log(1 - d) = -2 artanh(d / (2 - d)).
    let d = f32(~word) * 0x1p-32;
    return artanhTwice(d / (2.0 - d));
  }
  let x = word + 1u;
  let lead = countLeadingZeros(x);
  // x = 2^(31 - lead) m with m in [1, 2), brought to [sqrt(1/2), sqrt(2)).
  var m = f32(x << lead) * 0x1p-31;
  var exponent = -1.0 - f32(lead);
  if (m > 1.41421356) {
    m *= 0.5;
    exponent += 1.0;
  }
  return -fma(exponent, 0.693147181, artanhTwice((m - 1.0) / (m + 1.0)));
}

/** (r cos t, r sin t) of two words. */
fn boxMuller(first: u32, second: u32) -> vec2f {
  let r = sqrt(2.0 * negativeLog(first));
  let quadrant = (second + 0x20000000u) >> 30u;
  // What is left of the angle, at most an eighth of a turn, in radians: 2 pi 2^-32 each unit.
  let x = f32(bitcast<i32>(second - (quadrant << 30u))) * 1.46291808e-9;
  let z = x * x;
  var s = fma(z, 2.75573192e-6, -1.98412698e-4);
  s = fma(s, z, 8.33333333e-3);
  s = fma(s, z, -1.66666667e-1);
  s = fma(s * z, x, x);
  var c = fma(z, -2.75573192e-7, 2.48015873e-5);
  c = fma(c, z, -1.38888889e-3);
  c = fma(c, z, 4.16666667e-2);
  c = fma(c, z, -0.5);
  c = fma(c, z, 1.0);
  switch quadrant {
    case 0u: { return r * vec2f(c, s); }
    case 1u: { return r * vec2f(-s, c); }
    case 2u: { return r * vec2f(-c, -s); }
    default: { return r * vec2f(s, -c); }
  }
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let blocks = (params.count + 3u) / 4u;
  for (var block = global.x; block < blocks; block += workgroups.x * PER_WORKGROUP) {
    let words = philox(block);
    let numbers = params.scale * vec4f(boxMuller(words.x, words.y), boxMuller(words.z, words.w));
    let end = min(4u, params.count - 4u * block);
    for (var i = 0u; i < end; i++) { out[4u * block + i] = numbers[i]; }
  }
}
