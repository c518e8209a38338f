/**
 * variance: runs a covariance program on each image paired with itself, in float64, and writes the image's table.
 *
 * An image with itself has c = 1 at every pixel, so a relu halves the variance: no arc-cosine. One item is a group of
 * four images (`covariance/table.ts`). Cost: about k_h + k_w float64 additions a pixel and layer, once per image.
 */
import { VarianceParams, StepKind, STEP_BYTES } from "./generated/kernels";
import { buffer } from "./dispatch";
import { conv64, input64, mean64 } from "./covariance/map64";
import { kappaGain, kappaRootLambda } from "./covariance/kappa";
import { LANES, lanesOf, LANES_RELU_BYTES, LANE_BYTES, S_MIN, SPLAT_RELU_BYTES, splatOf } from "./covariance/table";
import { Step } from "./covariance/step";

export function variance(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<VarianceParams>(params);
  const program = buffer(buffers, 0);
  const images = buffer(buffers, 1);
  const table = buffer(buffers, 2);
  const variances = buffer(buffers, 3);
  for (let group = <u32>begin; group < <u32>end; group++) {
    for (let lane: u32 = 0; lane < LANES; lane++) {
      const image = group * LANES + lane;
      // Lanes behind the last image repeat it: they must hold finite numbers, and nobody reads their results.
      const source = images + ((<usize>min(image, p.images - 1) * p.imageFloats) << 2);
      const lanes = lanesOf(table, group, p.imageFloats, p.tablePixels) + (<usize>lane << 2);
      const splat = splatOf(table, image, p.imageFloats, p.tablePixels);
      copyImage(source, lanes, splat, p.imageFloats);
      const value = imageVariance(p, program, source, lanes, splat, scratch);
      if (image < p.images) store<f32>(variances + (<usize>image << 2), <f32>value);
    }
  }
}

function copyImage(source: usize, lanes: usize, splat: usize, floats: u32): void {
  memory.copy(splat, source, <usize>floats << 2);
  for (let i: usize = 0; i < <usize>floats; i++) store<f32>(lanes + i * LANE_BYTES, load<f32>(source + (i << 2)));
}

function imageVariance(
  p: VarianceParams, program: usize, image: usize, lanes: usize, splat: usize, scratch: usize,
): f64 {
  const map = scratch;
  const rows = scratch + (<usize>p.mapPixels << 3);
  const laneRelus = lanes + <usize>p.imageFloats * LANE_BYTES;
  const splatRelus = splat + (<usize>p.imageFloats << 2);
  for (let index: u32 = 0; index < p.steps; index++) {
    const step = changetype<Step>(program + <usize>index * STEP_BYTES);
    switch (step.kind) {
      case StepKind.input:
        input64<f32>(step, image, image, map);
        break;
      case StepKind.conv:
        conv64(step, map, rows);
        break;
      case StepKind.relu:
        relu(
          step, map, laneRelus + <usize>step.table * LANES_RELU_BYTES,
          splatRelus + <usize>step.table * SPLAT_RELU_BYTES,
        );
        break;
      default:
        mean64(step, map);
    }
  }
  return load<f64>(map);
}

function relu(step: Step, map: usize, lanes: usize, splat: usize): void {
  const pixels = <usize>(step.inHeight * step.inWidth);
  const gain = kappaGain(step.factor64);
  const rootLambda = kappaRootLambda();
  for (let p: usize = 0; p < pixels; p++) {
    const value = load<f64>(map + (p << 3));
    const s = gain * Math.sqrt(Math.max(value, 0));
    const alive = s >= S_MIN;
    const deviation = alive ? <f32>s : 0;
    const inverse = alive ? <f32>(rootLambda / s) : 0;
    store<f32>(lanes + p * LANES_RELU_BYTES, deviation);
    store<f32>(lanes + p * LANES_RELU_BYTES + LANE_BYTES, inverse);
    store<f32>(splat + p * SPLAT_RELU_BYTES, deviation);
    store<f32>(splat + p * SPLAT_RELU_BYTES + 4, inverse);
    store<f64>(map + (p << 3), alive ? 0.5 * step.factor64 * value : 0);
  }
}
