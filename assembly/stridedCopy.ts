/**
 * out[outOffset + sum i_k outStride_k] = alpha a[inOffset + sum i_k inStride_k] + beta out[..] in float32 (schema:
 * `sdk/engine/kernels/strided-copy.ts`). A work item is one share of all that is to be done. Every call first brings the axes
 * into one form: those of one index go, out strides become positive, the axes are ordered by them, the longest first,
 * and neighbours that continue each other in both arrays become one. The last axis A is then the one along which out is
 * closest together, and there are two cases:
 *
 *     runs     a is closest together along A, too: line by line along A, in pieces of at most SEGMENT
 *     tiles    a is closer together along another axis B: a transpose, in tiles of TILE indices of B and up to SEGMENT of
 *              A, by blocks of 4 x 4 in registers, so that every cache line of a and out is used as a whole
 *
 * Products and sums are rounded one by one, vectors and tails alike. Cost: the memory traffic.
 */
import { buffer } from "./dispatch";
import { StridedCopyParams } from "./generated/kernels";

@unmanaged class Axis {
  size: i32;
  inStride: i32;
  outStride: i32;
}

/** The axes in their one form, in scratch: `axes` of them, and room for four and one that is moved. */
@unmanaged class Plan {
  from: usize;
  to: usize;
  axes: i32;
}
const PLAN_BYTES: usize = 16;
const AXIS_BYTES: usize = 12;
const AXES: i32 = 4;

const SEGMENT: i32 = 4096;
const TILE: i32 = 16;
/** Elements of one work item; the same number stands in the schema. */
const SHARE: u64 = 16384;
/** Floats from which on the runtime's copy is faster than a loop. */
const LONG_RUN: i32 = 128;

export function stridedCopy(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<StridedCopyParams>(params);
  const plan = changetype<Plan>(scratch);
  plan.from = buffer(buffers, 0) + (<usize>p.inOffset << 2);
  plan.to = buffer(buffers, 1) + (<usize>p.outOffset << 2);
  plan.axes = 0;
  insert(plan, p.n0, p.inStride0, p.outStride0);
  insert(plan, p.n1, p.inStride1, p.outStride1);
  insert(plan, p.n2, p.inStride2, p.outStride2);
  insert(plan, p.n3, p.inStride3, p.outStride3);
  merge(plan);
  const items = (<u64>p.n0 * <u64>p.n1 * <u64>p.n2 * <u64>p.n3 + SHARE - 1) / SHARE;
  const alongOut = axis(plan, AXES - 1);
  const other = closerAxis(plan, alongOut);
  const tiles = other < 0 ? 1 : (axis(plan, other).size + TILE - 1) / TILE;
  const segments = (alongOut.size + SEGMENT - 1) / SEGMENT;
  // The work is the product of three outer axes, of which the tiles' counts its tiles, and of the segments of A.
  let units = <u64>tiles * <u64>segments;
  for (let k = 0; k < AXES - 1; k++) if (k != other) units *= <u64>axis(plan, k).size;
  const first = <u64>begin * units / items;
  const last = <u64>end * units / items;
  walk(plan, other, tiles, segments, first, last, p.alpha, p.beta);
}

// @ts-ignore: decorator
@inline
function axis(plan: Plan, k: i32): Axis {
  return changetype<Axis>(changetype<usize>(plan) + PLAN_BYTES + <usize>k * AXIS_BYTES);
}

function setAxis(plan: Plan, k: i32, size: i32, inStride: i32, outStride: i32): void {
  const to = axis(plan, k);
  to.size = size;
  to.inStride = inStride;
  to.outStride = outStride;
}

function copyAxis(plan: Plan, k: i32, from: Axis): void {
  setAxis(plan, k, from.size, from.inStride, from.outStride);
}

/** Adds an axis at its place: by falling strides of out. */
function insert(plan: Plan, size: i32, inStride: i32, outStride: i32): void {
  if (size == 1) return;
  if (outStride < 0) {
    plan.from += <usize>((size - 1) * inStride) << 2;
    plan.to += <usize>((size - 1) * outStride) << 2;
    inStride = -inStride;
    outStride = -outStride;
  }
  let k = plan.axes++;
  for (; k > 0 && axis(plan, k - 1).outStride < outStride; k--) copyAxis(plan, k, axis(plan, k - 1));
  setAxis(plan, k, size, inStride, outStride);
}

/** Makes one axis of two that continue each other, and moves all to the end, behind axes of one index. */
function merge(plan: Plan): void {
  let kept = 0;
  for (let k = 1; k < plan.axes; k++) {
    const outer = axis(plan, kept);
    const inner = axis(plan, k);
    if (outer.outStride == inner.size * inner.outStride && outer.inStride == inner.size * inner.inStride) {
      setAxis(plan, kept, outer.size * inner.size, inner.inStride, inner.outStride);
    } else copyAxis(plan, ++kept, inner);
  }
  let count = min(plan.axes, kept + 1);
  for (let k = AXES - 1; k >= 0; k--) {
    if (count > 0) copyAxis(plan, k, axis(plan, --count));
    else setAxis(plan, k, 1, 1, 1);
  }
}

/** The axis along which a is closest together, where that is not `alongOut` and pays; else -1. */
function closerAxis(plan: Plan, alongOut: Axis): i32 {
  let closest = abs(alongOut.inStride);
  let found = -1;
  for (let k = 0; k < AXES - 1; k++) {
    const inStride = axis(plan, k).inStride;
    const size = axis(plan, k).size;
    if (size == 1 || inStride == 0 || abs(inStride) >= closest) continue;
    closest = abs(inStride);
    found = k;
  }
  return found;
}

/** Units [first, last) of the work: an odometer over three outer axes (`other` by tiles), the segments of A fastest. */
function walk(
  plan: Plan,
  other: i32,
  tiles: i32,
  segments: i32,
  first: u64,
  last: u64,
  alpha: f32,
  beta: f32,
): void {
  const x = axis(plan, 0);
  const y = axis(plan, 1);
  const z = axis(plan, 2);
  const along = axis(plan, 3);
  const sizeX = other == 0 ? tiles : x.size;
  const sizeY = other == 1 ? tiles : y.size;
  const sizeZ = other == 2 ? tiles : z.size;
  const stepX = other == 0 ? TILE : 1;
  const stepY = other == 1 ? TILE : 1;
  const stepZ = other == 2 ? TILE : 1;
  let rest = first;
  let segment = <i32>(rest % <u64>segments);
  rest /= <u64>segments;
  let k = <i32>(rest % <u64>sizeZ);
  rest /= <u64>sizeZ;
  let j = <i32>(rest % <u64>sizeY);
  let i = <i32>(rest / <u64>sizeY);
  for (let unit = first; unit < last; unit++) {
    const ix = i * stepX;
    const iy = j * stepY;
    const iz = k * stepZ;
    const start = segment * SEGMENT;
    const count = min(SEGMENT, along.size - start);
    const skippedIn = ix * x.inStride + iy * y.inStride + iz * z.inStride + start * along.inStride;
    const skippedOut = ix * x.outStride + iy * y.outStride + iz * z.outStride + start * along.outStride;
    const from = plan.from + (<usize>skippedIn << 2);
    const to = plan.to + (<usize>skippedOut << 2);
    if (other < 0) copyRun(from, along.inStride, to, along.outStride, count, alpha, beta);
    else {
      const across = axis(plan, other);
      const place = other == 0 ? ix : other == 1 ? iy : iz;
      copyTile(from, across, to, along, min(TILE, across.size - place), count, alpha, beta);
    }
    if (++segment < segments) continue;
    segment = 0;
    if (++k < sizeZ) continue;
    k = 0;
    if (++j < sizeY) continue;
    j = 0;
    i++;
  }
}

// @ts-ignore: decorator
@inline
function putVector(to: usize, value: v128, alpha: f32, beta: f32): void {
  if (alpha != 1) value = f32x4.mul(f32x4.splat(alpha), value);
  if (beta != 0) value = f32x4.add(value, f32x4.mul(f32x4.splat(beta), v128.load(to)));
  v128.store(to, value);
}

// @ts-ignore: decorator
@inline
function put(to: usize, value: f32, alpha: f32, beta: f32): void {
  if (alpha != 1) value = alpha * value;
  if (beta != 0) value += beta * load<f32>(to);
  store<f32>(to, value);
}

function copyRun(from: usize, inStride: i32, to: usize, outStride: i32, count: i32, alpha: f32, beta: f32): void {
  const end = to + (<usize>(count * outStride) << 2);
  if (outStride == 1 && inStride == 1) {
    if (count >= LONG_RUN && alpha == 1 && beta == 0) {
      memory.copy(to, from, <usize>count << 2);
      return;
    }
    for (; to + 16 <= end; to += 16) {
      putVector(to, v128.load(from), alpha, beta);
      from += 16;
    }
  } else if (outStride == 1 && inStride == 0) {
    const value = v128.load32_splat(from);
    for (; to + 16 <= end; to += 16) putVector(to, value, alpha, beta);
  }
  const inBytes = <usize>inStride << 2;
  const outBytes = <usize>outStride << 2;
  for (; to != end; to += outBytes) {
    put(to, load<f32>(from), alpha, beta);
    from += inBytes;
  }
}

/** `rows` indices of B by `count` of A. */
function copyTile(
  from: usize,
  across: Axis,
  to: usize,
  along: Axis,
  rows: i32,
  count: i32,
  alpha: f32,
  beta: f32,
): void {
  const inAlong = <usize>along.inStride << 2;
  const inAcross = <usize>across.inStride << 2;
  const outAlong = <usize>along.outStride << 2;
  const outAcross = <usize>across.outStride << 2;
  const blocked = across.inStride == 1 && along.outStride == 1;
  let i = 0;
  for (; blocked && i + 4 <= count; i += 4) {
    let source = from;
    let target = to;
    let j = 0;
    for (; j + 4 <= rows; j += 4) {
      const r0 = v128.load(source);
      const r1 = v128.load(source + inAlong);
      const r2 = v128.load(source + 2 * inAlong);
      const r3 = v128.load(source + 3 * inAlong);
      const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
      const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
      const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
      const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
      putVector(target, v128.shuffle<f64>(low01, low23, 0, 2), alpha, beta);
      putVector(target + outAcross, v128.shuffle<f64>(low01, low23, 1, 3), alpha, beta);
      putVector(target + 2 * outAcross, v128.shuffle<f64>(high01, high23, 0, 2), alpha, beta);
      putVector(target + 3 * outAcross, v128.shuffle<f64>(high01, high23, 1, 3), alpha, beta);
      source += 16;
      target += 4 * outAcross;
    }
    for (; j < rows; j++) {
      put(target, load<f32>(source), alpha, beta);
      put(target + 4, load<f32>(source + inAlong), alpha, beta);
      put(target + 8, load<f32>(source + 2 * inAlong), alpha, beta);
      put(target + 12, load<f32>(source + 3 * inAlong), alpha, beta);
      source += 4;
      target += outAcross;
    }
    from += 4 * inAlong;
    to += 16;
  }
  for (; i < count; i++) {
    let source = from;
    let target = to;
    for (let j = 0; j < rows; j++) {
      put(target, load<f32>(source), alpha, beta);
      source += inAcross;
      target += outAcross;
    }
    from += inAlong;
    to += outAlong;
  }
}
