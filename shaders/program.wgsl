// The words of an encoded covariance program; `encodeProgram` in sdk/covariance/program.ts writes them. Words are read
// from read-only storage at uniform places, so the interpreters may branch around barriers on what they find.

const STEP_WORDS = 24u;
const INPUT = 0u;
const CONV = 1u;
const RELU = 2u;

const KIND = 0u;
const CHANNELS = 1u;
const IN_SIZE = 2u; // height; the width follows in each of these pairs
const OUT_SIZE = 4u;
const FILTER = 6u;
const STRIDE = 8u;
const DILATION = 10u;
const PAD = 12u;
const TABLE = 14u;
const WEIGHT = 16u;
const BIAS = 17u;

fn word(step: u32, field: u32) -> u32 { return program[step * STEP_WORDS + field]; }
fn real(step: u32, field: u32) -> f32 { return bitcast<f32>(word(step, field)); }

/** A 1 x 1 filter that moves no pixel: the only convolution without window sums. */
fn isPointwise(step: u32) -> bool {
  let taps = word(step, FILTER) * word(step, FILTER + 1u);
  let strides = word(step, STRIDE) * word(step, STRIDE + 1u);
  let pads = word(step, PAD) + word(step, PAD + 1u);
  let grown = word(step, OUT_SIZE) * word(step, OUT_SIZE + 1u) - word(step, IN_SIZE) * word(step, IN_SIZE + 1u);
  return taps == 1u && strides == 1u && pads == 0u && grown == 0u;
}
