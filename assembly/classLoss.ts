/**
 * Losses of class scores, their gradients and the labels' ranks, in float32 (schema: `sdk/engine/kernels/class-loss.ts`). A
 * row is a work item.
 *
 * Cross-entropy keeps its relative accuracy where a network is sure of itself. With e_k = e^(score_k - largest), and `others`
 * the sum of e_k without the largest score's (the label's, where it is one of the largest):
 *
 *     loss = (largest - score of the label) + log1p(others),  p_k = e_k / (1 + others)
 *     p - 1 of the label = -others / (1 + others) where it is the largest, else at most -1/2 and taken as it stands
 *
 * A row that holds a NaN, or whose label is none of its classes, has loss NaN and gradient NaN.
 */
import { buffer } from "./dispatch";
import { log1p } from "./elementwise/logarithm";
import { ClassLossParams } from "./generated/kernels";
import { firstLanes, loadPart, push, storePart, sumLanes, total } from "./pairwise";
import { largest } from "./reduce";
import { LEAF, placeOf, sumOfExps } from "./rows/exps";

/** `ClassLossOperation` of the schema; what is left is the hinge on log-softmax. */
const CROSS_ENTROPY: u32 = 0;
const HINGE: u32 = 1;
const SQUARED_HINGE: u32 = 2;
const TRUNCATED_HINGE: u32 = 3;
const LOG_HINGE: u32 = 4;

export function classLoss(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ClassLossParams>(params);
  const classes = <i32>p.classes;
  const operation = p.operation;
  for (let row = begin; row < end; row++) {
    const scores = buffer(buffers, 0) + (<usize>row * <usize>classes << 2);
    const gradient = buffer(buffers, 3) + (<usize>row * <usize>classes << 2);
    const label = load<i32>(buffer(buffers, 1) + (<usize>row << 2));
    let score: f32 = NaN;
    if (<u32>label < p.classes) score = load<f32>(scores + (<usize>label << 2));
    let loss: f32 = NaN;
    if (score == score) {
      if (operation == CROSS_ENTROPY) loss = crossEntropy(scores, classes, label, score, p.scale, gradient, scratch);
      else if (operation == HINGE) loss = hinge(HINGE, scores, classes, label, p.scale, gradient, scratch);
      else if (operation == SQUARED_HINGE) loss = hinge(SQUARED_HINGE, scores, classes, label, p.scale, gradient, scratch);
      else if (operation == TRUNCATED_HINGE)
        loss = hinge(TRUNCATED_HINGE, scores, classes, label, p.scale, gradient, scratch);
      else loss = logHinge(scores, classes, label, score, p.scale, gradient, scratch);
    }
    if (loss != loss) fillNaN(gradient, classes);
    store<f32>(buffer(buffers, 2) + (<usize>row << 2), loss);
    store<f32>(buffer(buffers, 4) + (<usize>row << 2), <f32>rank(scores, classes, label, score));
  }
}

function crossEntropy(
  scores: usize,
  classes: i32,
  label: i32,
  score: f32,
  scale: f32,
  gradient: usize,
  scratch: usize,
): f32 {
  const most = largest(scores, classes);
  const place = score == most ? label : placeOf(scores, classes, most);
  const others = sumOfExps(scores, classes, most, place, gradient, scratch);
  const atLabel = gradient + (<usize>label << 2);
  const own = labelMinusOne(place == label, load<f32>(atLabel), others);
  const factor = f32x4.splat(scale / (1 + others));
  let j = 0;
  for (; j + 4 <= classes; j += 4) {
    const at = gradient + (<usize>j << 2);
    v128.store(at, f32x4.mul(v128.load(at), factor));
  }
  for (; j < classes; j++) {
    const at = gradient + (<usize>j << 2);
    store<f32>(at, load<f32>(at) * f32x4.extract_lane(factor, 0));
  }
  store<f32>(atLabel, scale * own);
  return most - score + log1p(others);
}

/** p - 1 of the label. */
// @ts-ignore: decorator
@inline
function labelMinusOne(isLargest: bool, term: f32, others: f32): f32 {
  return isLargest ? -others / (1 + others) : term / (1 + others) - 1;
}

/** What a hinge makes of the distance 1 - m to its margin; NaN of NaN, which wasm's min and max promise. */
// @ts-ignore: decorator
@inline
function hingeTerm(operation: u32, distance: v128): v128 {
  const term = f32x4.max(distance, f32x4.splat(0));
  if (operation == SQUARED_HINGE) return f32x4.mul(term, term);
  return operation == TRUNCATED_HINGE ? f32x4.min(term, f32x4.splat(2)) : term;
}

/** The derivative of `hingeTerm`; 0 where it has two. */
// @ts-ignore: decorator
@inline
function hingeSlope(operation: u32, distance: v128): v128 {
  const zero = f32x4.splat(0);
  if (operation == SQUARED_HINGE) return f32x4.mul(f32x4.splat(2), f32x4.max(distance, zero));
  let inside = f32x4.gt(distance, zero);
  if (operation == TRUNCATED_HINGE) inside = v128.and(inside, f32x4.lt(distance, f32x4.splat(2)));
  return v128.and(inside, f32x4.splat(1));
}

// @ts-ignore: decorator
@inline
function hinge(
  operation: u32,
  scores: usize,
  classes: i32,
  label: i32,
  scale: f32,
  gradient: usize,
  stack: usize,
): f32 {
  const one = f32x4.splat(1);
  const scaled = f32x4.splat(scale);
  let places = i32x4(0, 1, 2, 3);
  let leaves = 0;
  for (let k = 0; k < classes; k += LEAF) {
    const end = min(k + LEAF, classes);
    let sum = f32x4.splat(0);
    for (let j = k; j < end; j += 4) {
      const offset = <usize>j << 2;
      const part = min(end - j, 4);
      const x = part == 4 ? v128.load(scores + offset) : loadPart(scores + offset, part);
      // The target's sign bit: set for all classes but the label.
      const sign = v128.andnot(f32x4.splat(-0.0), i32x4.eq(places, i32x4.splat(label)));
      const distance = f32x4.sub(one, v128.xor(x, sign));
      const slope = f32x4.mul(hingeSlope(operation, distance), scaled);
      const slopes = v128.xor(slope, v128.xor(sign, f32x4.splat(-0.0)));
      if (part == 4) v128.store(gradient + offset, slopes);
      else storePart(gradient + offset, part, slopes);
      sum = f32x4.add(sum, v128.and(hingeTerm(operation, distance), firstLanes(part)));
      places = i32x4.add(places, i32x4.splat(4));
    }
    push(stack, leaves, sum);
    leaves++;
  }
  return sumLanes(total(stack, leaves));
}

/**
 * The hinge of l = log-softmax: 1 - l of the label, and max(0, 1 + l) of the others, whose derivative c is 1 where l > -1.
 * With C the sum of all c (-1 of the label), the gradient is c_k - p_k C; at most two others have c = 1, and where none has,
 * C = -1 and the label's gradient is p - 1.
 */
function logHinge(
  scores: usize,
  classes: i32,
  label: i32,
  score: f32,
  scale: f32,
  gradient: usize,
  scratch: usize,
): f32 {
  const most = largest(scores, classes);
  const place = score == most ? label : placeOf(scores, classes, most);
  const others = sumOfExps(scores, classes, most, place, gradient, scratch);
  const logarithm = log1p(others);
  let sum = <f32>1 - (score - most - logarithm);
  let active = 0;
  for (let k = 0; k < classes; k++) {
    const distance = <f32>1 + (load<f32>(scores + (<usize>k << 2)) - most - logarithm);
    if (k == label || !(distance > 0)) continue;
    sum += distance;
    active++;
  }
  const factor = <f32>(active - 1) / (1 + others);
  const atLabel = gradient + (<usize>label << 2);
  const own = active == 0 ? labelMinusOne(place == label, load<f32>(atLabel), others) : -1 - load<f32>(atLabel) * factor;
  for (let k = 0; k < classes; k++) {
    const at = gradient + (<usize>k << 2);
    const distance = <f32>1 + (load<f32>(scores + (<usize>k << 2)) - most - logarithm);
    const c: f32 = distance > 0 ? 1 : 0;
    store<f32>(at, scale * (c - load<f32>(at) * factor));
  }
  store<f32>(atLabel, scale * own);
  return sum;
}

/** How many classes come before the label; all of them where its score is NaN. */
function rank(scores: usize, classes: i32, label: i32, score: f32): i32 {
  if (score != score) return classes;
  const own = f32x4.splat(score);
  let places = i32x4(0, 1, 2, 3);
  let before = i32x4.splat(0);
  for (let k = 0; k < classes; k += 4) {
    const part = min(classes - k, 4);
    const at = scores + (<usize>k << 2);
    const x = part == 4 ? v128.load(at) : loadPart(at, part);
    const equal = v128.and(f32x4.eq(x, own), i32x4.lt_s(places, i32x4.splat(label)));
    const counts = v128.and(v128.or(f32x4.gt(x, own), equal), firstLanes(part));
    before = i32x4.sub(before, counts);
    places = i32x4.add(places, i32x4.splat(4));
  }
  return (
    i32x4.extract_lane(before, 0) +
    i32x4.extract_lane(before, 1) +
    i32x4.extract_lane(before, 2) +
    i32x4.extract_lane(before, 3)
  );
}

function fillNaN(row: usize, count: i32): void {
  for (let k = 0; k < count; k++) store<f32>(row + (<usize>k << 2), NaN);
}
