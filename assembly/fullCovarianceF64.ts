/**
 * fullCovarianceF64: full covariance programs in float64, one pair at a time, for `precision: "f64"`. Plain on purpose:
 * separable direct sums, one tap of a pool after the other, exact angles. The pair's maps and its state stand in the
 * thread's slice of `workspace` (`full64/room.ts`).
 */
import { FullCovarianceF64Params } from "./generated/kernels";
import { buffer } from "./dispatch";
import { stageAt, stepAt } from "./full/words";
import { gap64 } from "./full64/bend";
import { runStage } from "./full64/pair";
import { roomOf } from "./full64/room";

/** Bits of `kinds`. */
const NNGP: u32 = 1;
const NTK: u32 = 2;

export function fullCovarianceF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<FullCovarianceF64Params>(params);
  const program = buffer(buffers, 0);
  const room = roomOf(
    scratch, buffer(buffers, 5), p.slices, p.sliceFloats, program, p.imageFloats, p.ntk, p.slots, p.mapPixels,
    p.passPixels, p.statePixels,
  );
  const imageBytes = <usize>(p.imageFloats + p.tablePixels) << 3;
  const output = room.maps + <usize>stepAt(program, p.steps - 1).to * room.slotBytes;
  const deviation = room.deviations + (<usize>p.outputTable << 3);
  const outputs = (p.kinds & 1) + (p.kinds >> 1);
  const matrixBytes = <usize>(p.rows * p.columns) << 3;
  for (let item = <u32>begin; item < <u32>end; item++) {
    const i = item / p.columns;
    const j = item % p.columns;
    const side = <i32>j - <i32>i;
    let target = buffer(buffers, 4) + (<usize>item << 3);
    if (p.diagonal != i32.MAX_VALUE && side == p.diagonal) {
      for (let which: u32 = 0; which < outputs; which++) {
        store<f64>(target, load<f64>(buffer(buffers, 3) + (<usize>(which * p.rows + i) << 3)));
        target += matrixBytes;
      }
      continue;
    }
    if (p.lower && side > p.diagonal) continue;
    room.x = buffer(buffers, 1) + <usize>i * imageBytes;
    room.y = buffer(buffers, 2) + <usize>j * imageBytes;
    for (let index: u32 = 0; index < p.stages; index++) runStage(room, stageAt(program, p.stagesAt, index));
    if (p.kinds & NNGP) {
      const s = load<f64>(room.x + deviation);
      const s2 = load<f64>(room.y + deviation);
      store<f64>(target, s * s2 - gap64(load<f64>(output), s, s2));
      target += matrixBytes;
    }
    if (p.kinds & NTK) store<f64>(target, load<f64>(output + room.mapsToT));
  }
}
