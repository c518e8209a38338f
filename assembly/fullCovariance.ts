/**
 * fullCovariance: runs a full covariance program on a tile of pairs, one image of the rows against four of the columns.
 */
import { FullCovarianceParams } from "./generated/kernels";
import { buffer } from "./dispatch";
import { LANES } from "./covariance/table";
import { memoryOf } from "./covariance/workspace";
import { outputOf, pointRun, prepareRun, runStage, tangentOf } from "./full/stage";

const NNGP: u32 = 1;
const NTK: u32 = 2;

export function fullCovariance(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<FullCovarianceParams>(params);
  const memory = memoryOf(scratch, buffer(buffers, 5), p.slices, <usize>p.sliceFloats << 2);
  const run = prepareRun(
    memory, buffer(buffers, 0), p.stagesAt, p.stages, p.steps, p.ntk, p.outputTable, p.statePixels, p.slots,
    p.mapPixels, p.sumPixels, p.line,
  );
  for (let item = <u32>begin; item < <u32>end; item++) {
    const group = item / p.rows;
    const row = item % p.rows;
    if (p.lower && <i32>(group * LANES) > <i32>row + p.diagonal) continue;
    pointRun(run, buffer(buffers, 1), row, buffer(buffers, 2), group, p.imageFloats, p.tablePixels);
    for (let stage: u32 = 0; stage < p.stages; stage++) runStage(run, stage);
    let output = buffer(buffers, 4);
    let variances = buffer(buffers, 3);
    if (p.kinds & NNGP) {
      storeFour(p, outputOf(run), row, group, output, variances);
      output += (<usize>p.rows * p.columns) << 2;
      variances += <usize>p.rows << 2;
    }
    if (p.kinds & NTK) storeFour(p, tangentOf(run), row, group, output, variances);
  }
}

/** Writes four results into their row, the image that meets itself from its variance. */
function storeFour(p: FullCovarianceParams, result: v128, row: u32, group: u32, output: usize, variances: usize): void {
  const column = group * LANES;
  const target = output + ((<usize>row * p.columns + column) << 2);
  const count = min(LANES, p.columns - column);
  if (count == LANES) {
    v128.store(target, result);
  } else {
    store<f32>(target, f32x4.extract_lane(result, 0));
    if (count > 1) store<f32>(target, f32x4.extract_lane(result, 1), 4);
    if (count > 2) store<f32>(target, f32x4.extract_lane(result, 2), 8);
  }
  const itself = <i32>row + p.diagonal - <i32>column;
  if (p.diagonal != i32.MAX_VALUE && itself >= 0 && itself < <i32>count)
    store<f32>(target + (<usize>itself << 2), load<f32>(variances + (<usize>row << 2)));
}
