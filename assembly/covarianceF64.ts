/**
 * varianceF64 and covarianceF64: covariance programs in float64, one pair at a time, for `precision: "f64"`. Plain on
 * purpose: separable direct sums, nothing folded, nothing fitted. An image's table is its pixels, then what the
 * nonlinearities keep of its variances (`nonlinear64.ts`).
 */
import { CovarianceF64Params, StepKind, STEP_BYTES, VarianceF64Params } from "./generated/kernels";
import { buffer } from "./dispatch";
import { affineLine, conv64, input64, mean64, put64 } from "./covariance/map64";
import { covariance64, ownVariance64, spread64 } from "./covariance/nonlinear64";
import { Step } from "./covariance/step";
import { memoryOf } from "./covariance/workspace";

/** Bytes of one image in a table. */
function imageBytes(imageFloats: u32, tablePixels: u32): usize {
  return <usize>(imageFloats + tablePixels) << 3;
}

export function varianceF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<VarianceF64Params>(params);
  const bytes = imageBytes(p.imageFloats, p.tablePixels);
  const maps = memoryOf(scratch, buffer(buffers, 4), p.slices, <usize>p.sliceFloats << 3);
  const slotBytes = <usize>p.mapPixels << 3;
  const rows = maps + <usize>p.slots * slotBytes;
  for (let image = begin; image < end; image++) {
    const source = buffer(buffers, 1) + ((<usize>image * p.imageFloats) << 3);
    const target = buffer(buffers, 2) + <usize>image * bytes;
    memory.copy(target, source, <usize>p.imageFloats << 3);
    const spreads = target + (<usize>p.imageFloats << 3);
    let output = maps;
    for (let index: u32 = 0; index < p.steps; index++) {
      const step = changetype<Step>(buffer(buffers, 0) + <usize>index * STEP_BYTES);
      const from = maps + <usize>step.from * slotBytes;
      const to = maps + <usize>step.to * slotBytes;
      output = to;
      if (linear64(step, target, target, from, to, rows)) continue;
      const pixels = <usize>(step.inHeight * step.inWidth);
      const table = spreads + (<usize>step.table << 3);
      for (let at: usize = 0; at < pixels << 3; at += 8) {
        const value = load<f64>(from + at);
        store<f64>(table + at, spread64(step, value));
        put64(step, to + at, ownVariance64(step, value));
      }
    }
    store<f64>(buffer(buffers, 3) + (<usize>image << 3), load<f64>(output));
  }
}

export function covarianceF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CovarianceF64Params>(params);
  const bytes = imageBytes(p.imageFloats, p.tablePixels);
  const spreads = <usize>p.imageFloats << 3;
  const maps = memoryOf(scratch, buffer(buffers, 5), p.slices, <usize>p.sliceFloats << 3);
  const slotBytes = <usize>p.mapPixels << 3;
  const rows = maps + <usize>p.slots * slotBytes;
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
    let output = maps;
    for (let index: u32 = 0; index < p.steps; index++) {
      const step = changetype<Step>(buffer(buffers, 0) + <usize>index * STEP_BYTES);
      const from = maps + <usize>step.from * slotBytes;
      const to = maps + <usize>step.to * slotBytes;
      output = to;
      if (linear64(step, x, y, from, to, rows)) continue;
      const table = spreads + (<usize>step.table << 3);
      nonlinear(step, from, to, x + table, y + table);
    }
    store<f64>(target, load<f64>(output));
  }
}

/** Does a step that has no table; false for one that has. */
function linear64(step: Step, x: usize, y: usize, from: usize, to: usize, rows: usize): bool {
  switch (step.kind) {
    case StepKind.input:
      input64<f64>(step, x, y, to);
      return true;
    case StepKind.conv:
      conv64(step, from, to, rows);
      return true;
    case StepKind.affine:
      affineLine(step, from, to, step.inHeight * step.inWidth);
      return true;
    case StepKind.mean:
      mean64(step, from, to);
      return true;
    default:
      return false;
  }
}

function nonlinear(step: Step, from: usize, to: usize, x: usize, y: usize): void {
  const bytes = <usize>(step.inHeight * step.inWidth) << 3;
  for (let at: usize = 0; at < bytes; at += 8)
    put64(step, to + at, covariance64(step, load<f64>(from + at), load<f64>(x + at), load<f64>(y + at)));
}
