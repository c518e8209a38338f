// The words of an encoded covariance program; `encodeProgram` in sdk/covariance/encode.ts writes and explains them.
// They are read from read-only storage at uniform places, so interpreters may branch around barriers on what they find.

const STEP_WORDS = 48u;

const INPUT = 0u;
const CONV = 1u; // always with windows: others are encoded as AFFINE
const AFFINE = 2u;
const RECTIFIER = 3u;
const STEP = 4u;
const ERF = 5u;
const MEAN = 6u;
const POOL = 7u; // of full programs only

const KIND = 0u;
const CHANNELS = 1u;
const IN_SIZE = 2u; // height; the width follows in each of these pairs
const OUT_SIZE = 4u;
const FILTER = 6u;
const STRIDE = 8u;
const DILATION = 10u;
const PAD = 12u;
const TABLE = 14u;
const FROM = 15u;
const TO = 16u;
const ACCUMULATE = 17u;
const LOAD = 18u; // places of the line layout
const KEEP = 19u;
const ADDEND = 20u;
const ORIENTATION = 21u;
const FACTOR = 22u;
const BIAS = 23u;
const POSITIVE = 24u;
const NEGATIVE = 25u;

const NO_PLACE = 0xffffffffu;
const ACROSS = 1u; // bits of ORIENTATION
const TURNED = 2u;

fn word(step: u32, field: u32) -> u32 { return program[step * STEP_WORDS + field]; }
fn real(step: u32, field: u32) -> f32 { return bitcast<f32>(word(step, field)); }

fn isNonlinearity(kind: u32) -> bool { return kind >= RECTIFIER && kind <= ERF; }
fn isTurned(step: u32) -> bool { return (word(step, ORIENTATION) & TURNED) != 0u; }
