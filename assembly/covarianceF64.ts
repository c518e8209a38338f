/**
 * varianceF64 and covarianceF64: covariance programs in float64, one pair at a time, for `precision: "f64"`. Plain on
 * purpose: separable direct sums and acos (AssemblyScript's own, below one ulp), nothing folded, nothing fitted.
 */
import { CovarianceF64Params, StepKind, STEP_BYTES, VarianceF64Params } from "./generated/kernels";
import { buffer } from "./dispatch";
import { conv64, input64, kappa64, mean64 } from "./covariance/map64";
import { Step } from "./covariance/step";

/** Bytes of one image in a table: its pixels, then its standard deviations. */
function imageBytes(imageFloats: u32, tablePixels: u32): usize {
  return <usize>(imageFloats + tablePixels) << 3;
}

export function varianceF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<VarianceF64Params>(params);
  const bytes = imageBytes(p.imageFloats, p.tablePixels);
  for (let image = begin; image < end; image++) {
    const source = buffer(buffers, 1) + ((<usize>image * p.imageFloats) << 3);
    const target = buffer(buffers, 2) + <usize>image * bytes;
    memory.copy(target, source, <usize>p.imageFloats << 3);
    const deviations = target + (<usize>p.imageFloats << 3);
    const rows = scratch + (<usize>p.mapPixels << 3);
    for (let index: u32 = 0; index < p.steps; index++) {
      const step = changetype<Step>(buffer(buffers, 0) + <usize>index * STEP_BYTES);
      if (step.kind == StepKind.relu) halve(step, scratch, deviations + (<usize>step.table << 3));
      else linear64(step, target, target, scratch, rows);
    }
    store<f64>(buffer(buffers, 3) + (<usize>image << 3), load<f64>(scratch));
  }
}

export function covarianceF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CovarianceF64Params>(params);
  const bytes = imageBytes(p.imageFloats, p.tablePixels);
  const deviations = <usize>p.imageFloats << 3;
  const rows = scratch + (<usize>p.mapPixels << 3);
  for (let item = <u32>begin; item < <u32>end; item++) {
    const i = item / p.columns;
    const j = item % p.columns;
    const target = buffer(buffers, 4) + (<usize>item << 3);
    if (p.diagonal != i32.MAX_VALUE && <i32>j - <i32>i == p.diagonal) {
      store<f64>(target, load<f64>(buffer(buffers, 3) + (<usize>i << 3)));
      continue;
    }
    if (p.lower && <i32>j - <i32>i > p.diagonal) continue;
    const x = buffer(buffers, 1) + <usize>i * bytes;
    const y = buffer(buffers, 2) + <usize>j * bytes;
    for (let index: u32 = 0; index < p.steps; index++) {
      const step = changetype<Step>(buffer(buffers, 0) + <usize>index * STEP_BYTES);
      const table = deviations + (<usize>step.table << 3);
      if (step.kind == StepKind.relu) relu(step, scratch, x + table, y + table);
      else linear64(step, x, y, scratch, rows);
    }
    store<f64>(target, load<f64>(scratch));
  }
}

function linear64(step: Step, x: usize, y: usize, map: usize, rows: usize): void {
  if (step.kind == StepKind.conv) conv64(step, map, rows);
  else if (step.kind == StepKind.input) input64<f64>(step, x, y, map);
  else mean64(step, map);
}

function halve(step: Step, map: usize, deviations: usize): void {
  const pixels = <usize>(step.inHeight * step.inWidth);
  for (let p: usize = 0; p < pixels; p++) {
    const value = load<f64>(map + (p << 3));
    store<f64>(deviations + (p << 3), Math.sqrt(value));
    store<f64>(map + (p << 3), 0.5 * step.factor64 * value);
  }
}

function relu(step: Step, map: usize, x: usize, y: usize): void {
  const pixels = <usize>(step.inHeight * step.inWidth);
  for (let p: usize = 0; p < pixels; p++) {
    const at = p << 3;
    store<f64>(map + at, step.factor64 * kappa64(load<f64>(map + at), load<f64>(x + at) * load<f64>(y + at)));
  }
}
