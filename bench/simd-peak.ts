/**
 * The float32 operations per second that one thread of this runtime can do: a wasm loop of independent products and
 * sums on four lanes, all in registers, written out as bytes. No kernel can be faster without fused multiply-add.
 */

/** Enough chains to hide the latency of a product and a sum, few enough for sixteen registers with two constants. */
const CHAINS = 12;
const TURNS = 2_000_000;
const LANES = 4;

const [GET, SET, TEE] = [0x20, 0x21, 0x22];
const SPLAT = [0xfd, 0x13];
const ADD = [0xfd, 0xe4, 0x01];
const MULTIPLY = [0xfd, 0xe6, 0x01];
const FIRST_LANE = [0xfd, 0x1f, 0x00];

/** run(turns: i32, factor: f32, summand: f32): f32, chain = chain * factor + summand. */
function moduleBytes(): Uint8Array<ArrayBuffer> {
  const chains = Array.from({ length: CHAINS }, (_, index) => 3 + index);
  const [factor, summand] = [3 + CHAINS, 4 + CHAINS];
  const code = [
    ...[1, CHAINS + 2, 0x7b], // locals: vectors
    ...[GET, 1, ...SPLAT, SET, factor, GET, 2, ...SPLAT, SET, summand],
    ...[0x03, 0x40], // loop
    ...chains.flatMap((chain) => [GET, chain, GET, factor, ...MULTIPLY, GET, summand, ...ADD, SET, chain]),
    ...[GET, 0, 0x41, 1, 0x6b, TEE, 0, 0x0d, 0], // turns -= 1, again unless 0
    0x0b,
    ...[GET, 3, ...chains.slice(1).flatMap((chain) => [GET, chain, ...ADD]), ...FIRST_LANE],
    0x0b,
  ];
  const section = (id: number, bytes: number[]) => [id, ...unsigned(bytes.length), ...bytes];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 3, 0x7f, 0x7d, 0x7d, 1, 0x7d]),
    ...section(3, [1, 0]),
    ...section(7, [1, 3, ...new TextEncoder().encode("run"), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  ]);
}

/** LEB128, of numbers below 2^14. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, value >> 7];
}

const instance = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()));
const run = instance.exports["run"] as (turns: number, factor: number, summand: number) => number;

/** Operations per second of CPU time, on this thread. */
export function simdPeak(): number {
  run(TURNS / 10, 0.5, 0.5);
  const begun = process.cpuUsage();
  run(TURNS, 0.5, 0.5);
  const seconds = process.cpuUsage(begun).user / 1e6;
  return (TURNS * CHAINS * 2 * LANES) / seconds;
}
