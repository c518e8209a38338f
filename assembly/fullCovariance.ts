/**
 * fullCovariance: runs a full covariance program on a tile of pairs, one image of the rows against four of the columns.
 *
 *     item = (group of four columns, row);  for each stage, for each offset s between pixels: the stage's steps on the
 *     map of s, which stays in L1 (two padded maps, at most 34 x 34 pixels of 32 bytes, 17 KB on average)
 *
 * Every pair's arithmetic is the same sequence of lane-wise float32 operations wherever it stands in a tile, every
 * product of the two images commutes, and offsets s and -s are taken in the order that `sdk/covariance/offsets.ts`
 * gives: the value depends neither on tiling nor on the order of the pair. `full/run.ts` says where things stand,
 * `full/plan.ts` what is known before the first pair, `full/chain.ts` and `full/block.ts` hold the loops for
 * [convolution 3x3, relu], `full/linear.ts`, `bend.ts` and `arcsine.ts` those for every other step, `full/pool.ts` the
 * way to and from the state.
 *
 * Operations per pixel of an offset, sums, products and roots, in the plain build:
 *
 *     input of three channels                                    8
 *     box of 3 x 3, columns first, each of D and T               4
 *     n, d, k, r r', v, sqrt v                                  10
 *     D':  P of degree 4 in two quadratics 7, and 3             10
 *     T':  + k 1, A of degree 5 10, and 3                       14
 *     pool, each of D and T                                      1
 *
 * A map of H x W pixels has (sum over s of H - |s|)(sum of W - |s|) = H^2 W^2 pixels over all its offsets. myrtle5 on
 * 32 x 32: 2^20 (8 + 37 + 42 + 2) + 2^16 (42 + 2) + 2^12 (42 + 2) = 96.4 million a pair, before loads, stores and the
 * ring around each map; with a flatten read-out behind two pools, which needs 7 x 7 offsets at the input, 4.1 million.
 * Fused multiply-adds take about 31 instructions where the plain build takes 42. Measured: 68 % of the SIMD peak in the
 * plain build, 53 % of twice as high a peak, that of fused multiply-adds alone, in the relaxed one.
 *
 * Memory of a thread: 32 bytes a pixel of the state (four pairs, D and T), 2.2 MB for myrtle5, and the maps; the
 * group's tables, 145 KB, are read from L2 once an offset.
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
