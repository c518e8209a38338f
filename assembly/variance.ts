/**
 * variance: runs a covariance program on each image paired with itself, in float64, and writes the image's table.
 *
 * An image with itself has c = 1 at every pixel, so no nonlinearity needs an angle. One item is a group of four images
 * (`covariance/table.ts`). Cost: about k_h + k_w float64 additions a pixel and layer, once per image.
 */
import { VarianceParams, StepKind, STEP_BYTES } from "./generated/kernels";
import { buffer } from "./dispatch";
import { affineLine, conv64, input64, mean64, put64 } from "./covariance/map64";
import { ownVariance64, spread64 } from "./covariance/nonlinear64";
import { rectifierGain, rectifierRootLambda } from "./covariance/kappa";
import { LANES, lanesOf, LANES_PIXEL_BYTES, LANE_BYTES, S_MIN, SPLAT_PIXEL_BYTES, splatOf } from "./covariance/table";
import { Step } from "./covariance/step";
import { memoryOf } from "./covariance/workspace";

export function variance(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<VarianceParams>(params);
  const program = buffer(buffers, 0);
  const images = buffer(buffers, 1);
  const table = buffer(buffers, 2);
  const variances = buffer(buffers, 3);
  const maps = memoryOf(scratch, buffer(buffers, 4), p.slices, <usize>p.sliceFloats << 2);
  for (let group = <u32>begin; group < <u32>end; group++) {
    for (let lane: u32 = 0; lane < LANES; lane++) {
      const image = group * LANES + lane;
      // Lanes behind the last image repeat it: they must hold finite numbers, and nobody reads their results.
      const source = images + ((<usize>min(image, p.images - 1) * p.imageFloats) << 2);
      const lanes = lanesOf(table, group, p.imageFloats, p.tablePixels) + (<usize>lane << 2);
      const splat = splatOf(table, image, p.imageFloats, p.tablePixels);
      copyImage(source, lanes, splat, p.imageFloats);
      const value = imageVariance(p, program, source, lanes, splat, maps);
      if (image < p.images) store<f32>(variances + (<usize>image << 2), <f32>value);
    }
  }
}

function copyImage(source: usize, lanes: usize, splat: usize, floats: u32): void {
  memory.copy(splat, source, <usize>floats << 2);
  for (let i: usize = 0; i < <usize>floats; i++) store<f32>(lanes + i * LANE_BYTES, load<f32>(source + (i << 2)));
}

function imageVariance(
  p: VarianceParams, program: usize, image: usize, lanes: usize, splat: usize, maps: usize,
): f64 {
  const slotBytes = <usize>p.mapPixels << 3;
  const rows = maps + <usize>p.slots * slotBytes;
  const laneTable = lanes + <usize>p.imageFloats * LANE_BYTES;
  const splatTable = splat + (<usize>p.imageFloats << 2);
  let output = maps;
  for (let index: u32 = 0; index < p.steps; index++) {
    const step = changetype<Step>(program + <usize>index * STEP_BYTES);
    const from = maps + <usize>step.from * slotBytes;
    const to = maps + <usize>step.to * slotBytes;
    output = to;
    switch (step.kind) {
      case StepKind.input:
        input64<f32>(step, image, image, to);
        break;
      case StepKind.conv:
        conv64(step, from, to, rows);
        break;
      case StepKind.affine:
        affineLine(step, from, to, step.inHeight * step.inWidth);
        break;
      case StepKind.mean:
        mean64(step, from, to);
        break;
      default:
        nonlinear(
          step, from, to, laneTable + <usize>step.table * LANES_PIXEL_BYTES,
          splatTable + <usize>step.table * SPLAT_PIXEL_BYTES,
        );
    }
  }
  return load<f64>(output);
}

/**
 * Writes the table of one nonlinearity, and the variances behind it. Where a standard deviation is too small for r, pairs
 * have the straight part of a rectifier alone, and so has the variance, which has no other part: it stays what k gives.
 */
function nonlinear(step: Step, from: usize, to: usize, lanes: usize, splat: usize): void {
  const pixels = <usize>(step.inHeight * step.inWidth);
  const rectifier = step.kind == StepKind.rectifier;
  const gain = rectifier ? rectifierGain(step) : 1;
  const numerator = rectifier ? rectifierRootLambda(step) : 1;
  for (let p: usize = 0; p < pixels; p++) {
    const value = load<f64>(from + (p << 3));
    const s = gain * Math.sqrt(Math.max(spread64(step, value), 0));
    const alive = s >= S_MIN;
    const deviation = alive || rectifier ? <f32>s : 0;
    const inverse = alive ? <f32>(numerator / s) : 0;
    store<f32>(lanes + p * LANES_PIXEL_BYTES, deviation);
    store<f32>(lanes + p * LANES_PIXEL_BYTES + LANE_BYTES, inverse);
    store<f32>(splat + p * SPLAT_PIXEL_BYTES, deviation);
    store<f32>(splat + p * SPLAT_PIXEL_BYTES + 4, inverse);
    put64(step, to + (p << 3), alive || rectifier ? ownVariance64(step, value) : 0);
  }
}
