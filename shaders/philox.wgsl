// Philox 4x32-10: the four words of a block of the stream that the params name, those of `sdk/engine/rng.ts`.

const MULTIPLIER_0 = 0xd2511f53u;
const MULTIPLIER_1 = 0xcd9e8d57u;
const WEYL_0 = 0x9e3779b9u; // the golden ratio, in units of 2^-32
const WEYL_1 = 0xbb67ae85u; // sqrt(3) - 1
const ROUNDS = 10u;

/** High 32 bits of the 64-bit product, by 16-bit halves. */
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let aLow = a & 0xffffu;
  let aHigh = a >> 16u;
  let bLow = b & 0xffffu;
  let bHigh = b >> 16u;
  let middle = aHigh * bLow + ((aLow * bLow) >> 16u);
  let carry = aLow * bHigh + (middle & 0xffffu);
  return aHigh * bHigh + (middle >> 16u) + (carry >> 16u);
}

fn philox(block: u32) -> vec4u {
  var c = vec4u(block, params.indexLow, params.indexHigh, params.stream);
  var k = vec2u(params.seedLow, params.seedHigh);
  for (var round = 0u; round < ROUNDS; round++) {
    c = vec4u(
      multiplyHigh(MULTIPLIER_1, c.z) ^ c.y ^ k.x,
      MULTIPLIER_1 * c.z,
      multiplyHigh(MULTIPLIER_0, c.x) ^ c.w ^ k.y,
      MULTIPLIER_0 * c.x,
    );
    k += vec2u(WEYL_0, WEYL_1);
  }
  return c;
}
