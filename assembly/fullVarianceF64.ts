/**
 * fullVarianceF64: a full covariance program on each image paired with itself, in float64, stage by stage: first the
 * variances, which fill the table, then the pair at all offsets, which gives the NTK and the spreads within pools.
 * An image's table is its pixels, then what `full64/variances.ts` keeps.
 */
import { FullVarianceF64Params } from "./generated/kernels";
import { buffer } from "./dispatch";
import { stageAt, stepAt } from "./full/words";
import { runStage } from "./full64/pair";
import { Room, roomOf } from "./full64/room";
import { runVariances, takeSpreads } from "./full64/variances";

/** Bits of `kinds`. */
const NNGP: u32 = 1;
const NTK: u32 = 2;

export function fullVarianceF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<FullVarianceF64Params>(params);
  const program = buffer(buffers, 0);
  const room = roomOf(
    scratch, buffer(buffers, 4), p.slices, p.sliceFloats, program, p.imageFloats, p.ntk, p.slots, p.mapPixels,
    p.passPixels, p.statePixels,
  );
  const imageBytes = <usize>p.imageFloats << 3;
  const last = <usize>stepAt(program, p.steps - 1).to * room.slotBytes;
  for (let image = <usize>begin; image < <usize>end; image++) {
    const table = buffer(buffers, 2) + image * (imageBytes + (<usize>p.tablePixels << 3));
    memory.copy(table, buffer(buffers, 1) + image * imageBytes, imageBytes);
    room.x = table;
    room.y = table;
    for (let index: u32 = 0; index < p.stages; index++) {
      const stage = stageAt(program, p.stagesAt, index);
      runVariances(room, stage);
      runStage(room, stage);
      takeSpreads(room, stage);
    }
    const variance = load<f64>(room.variances + last);
    store<f64>(table + imageBytes + (<usize>p.outputTable << 3), Math.sqrt(variance));
    let target = buffer(buffers, 3) + (image << 3);
    if (p.kinds & NNGP) {
      store<f64>(target, variance);
      target += <usize>p.images << 3;
    }
    if (p.kinds & NTK) store<f64>(target, tangentOf(room, last));
  }
}

function tangentOf(room: Room, last: usize): f64 {
  return load<f64>(room.maps + room.mapsToT + last);
}
