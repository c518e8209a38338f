/**
 * One step of an optimiser on one array of weights, in place (formulas and schema: `sdk/engine/kernels/optimisers.ts`). Every
 * product and sum is rounded by itself in every build, and a tail of fewer than four weights is computed as a vector, so a
 * weight does not depend on where it stands. A guard that is not finite leaves all arrays as they are.
 *
 * Cost: the memory traffic, 12 bytes a weight for plain sgd, 20 with momentum or for rmsprop without, 28 for Adam and for
 * rmsprop with momentum.
 */
import { buffer } from "./dispatch";
import { AdamStepParams, RmspropStepParams, SgdStepParams } from "./generated/kernels";

/** Arrays of a step, as in the schemas: gradient, guard, weights, and two of state. */
const GRADIENT: i32 = 0;
const GUARD: i32 = 1;
const WEIGHTS: i32 = 2;
const FIRST: i32 = 3;
const SECOND: i32 = 4;

export function sgdStep(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  if (diverged(buffers)) return;
  const p = changetype<SgdStepParams>(params);
  const moves = p.momentum != 0;
  const whole = (end - begin) & ~3;
  const tail = end - begin - whole;
  const g = place(buffers, GRADIENT, begin);
  const w = place(buffers, WEIGHTS, begin);
  // Without momentum its buffer may be shorter.
  const v = moves ? place(buffers, FIRST, begin) : scratch;
  if (moves) sgdMomentum(p, g, w, v, whole);
  else sgdPlain(p, g, w, whole);
  if (tail == 0) return;
  const done = <usize>whole << 2;
  const left = <usize>tail << 2;
  memory.copy(scratch, g + done, left);
  memory.copy(scratch + 16, w + done, left);
  if (moves) memory.copy(scratch + 32, v + done, left);
  if (moves) sgdMomentum(p, scratch, scratch + 16, scratch + 32, 4);
  else sgdPlain(p, scratch, scratch + 16, 4);
  memory.copy(w + done, scratch + 16, left);
  if (moves) memory.copy(v + done, scratch + 32, left);
}

function sgdPlain(p: SgdStepParams, g: usize, w: usize, count: i32): void {
  const rate = f32x4.splat(p.rate);
  const decay = f32x4.splat(p.decay);
  const bytes = <usize>count << 2;
  for (let at: usize = 0; at < bytes; at += 16) {
    const weight = v128.load(w + at);
    const gradient = f32x4.add(v128.load(g + at), f32x4.mul(decay, weight));
    v128.store(w + at, f32x4.sub(weight, f32x4.mul(rate, gradient)));
  }
}

function sgdMomentum(p: SgdStepParams, g: usize, w: usize, v: usize, count: i32): void {
  const rate = f32x4.splat(p.rate);
  const decay = f32x4.splat(p.decay);
  const momentum = f32x4.splat(p.momentum);
  const first = p.first != 0;
  const nesterov = p.nesterov != 0;
  const bytes = <usize>count << 2;
  for (let at: usize = 0; at < bytes; at += 16) {
    const weight = v128.load(w + at);
    const gradient = f32x4.add(v128.load(g + at), f32x4.mul(decay, weight));
    // What stands in the buffer before the first step may be anything.
    const velocity = first ? gradient : f32x4.add(f32x4.mul(momentum, v128.load(v + at)), gradient);
    const step = nesterov ? f32x4.add(gradient, f32x4.mul(momentum, velocity)) : velocity;
    v128.store(v + at, velocity);
    v128.store(w + at, f32x4.sub(weight, f32x4.mul(rate, step)));
  }
}

export function adamStep(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  if (diverged(buffers)) return;
  const p = changetype<AdamStepParams>(params);
  const whole = (end - begin) & ~3;
  const tail = end - begin - whole;
  const g = place(buffers, GRADIENT, begin);
  const w = place(buffers, WEIGHTS, begin);
  const m = place(buffers, FIRST, begin);
  const v = place(buffers, SECOND, begin);
  adam(p, g, w, m, v, whole);
  if (tail == 0) return;
  const done = <usize>whole << 2;
  const left = <usize>tail << 2;
  memory.copy(scratch, g + done, left);
  memory.copy(scratch + 16, w + done, left);
  memory.copy(scratch + 32, m + done, left);
  memory.copy(scratch + 48, v + done, left);
  adam(p, scratch, scratch + 16, scratch + 32, scratch + 48, 4);
  memory.copy(w + done, scratch + 16, left);
  memory.copy(m + done, scratch + 32, left);
  memory.copy(v + done, scratch + 48, left);
}

function adam(p: AdamStepParams, g: usize, w: usize, m: usize, v: usize, count: i32): void {
  const rate = f32x4.splat(p.rate);
  const decay = f32x4.splat(p.decay);
  const beta1 = f32x4.splat(p.beta1);
  const beta2 = f32x4.splat(p.beta2);
  const rest1 = f32x4.splat(1 - p.beta1);
  const rest2 = f32x4.splat(1 - p.beta2);
  const epsilon = f32x4.splat(p.epsilon);
  const root = f32x4.splat(p.root);
  const bytes = <usize>count << 2;
  for (let at: usize = 0; at < bytes; at += 16) {
    const weight = v128.load(w + at);
    const gradient = f32x4.add(v128.load(g + at), f32x4.mul(decay, weight));
    const mean = f32x4.add(f32x4.mul(beta1, v128.load(m + at)), f32x4.mul(rest1, gradient));
    const square = f32x4.mul(rest2, f32x4.mul(gradient, gradient));
    const variance = f32x4.add(f32x4.mul(beta2, v128.load(v + at)), square);
    const size = f32x4.add(f32x4.mul(f32x4.sqrt(variance), root), epsilon);
    v128.store(m + at, mean);
    v128.store(v + at, variance);
    v128.store(w + at, f32x4.sub(weight, f32x4.div(f32x4.mul(rate, mean), size)));
  }
}

export function rmspropStep(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  if (diverged(buffers)) return;
  const p = changetype<RmspropStepParams>(params);
  const moves = p.momentum > 0;
  const whole = (end - begin) & ~3;
  const tail = end - begin - whole;
  const g = place(buffers, GRADIENT, begin);
  const w = place(buffers, WEIGHTS, begin);
  const v = place(buffers, FIRST, begin);
  // Without momentum its buffer may be shorter.
  const b = moves ? place(buffers, SECOND, begin) : scratch;
  rmsprop(p, moves, g, w, v, b, whole);
  if (tail == 0) return;
  const done = <usize>whole << 2;
  const left = <usize>tail << 2;
  memory.copy(scratch, g + done, left);
  memory.copy(scratch + 16, w + done, left);
  memory.copy(scratch + 32, v + done, left);
  if (moves) memory.copy(scratch + 48, b + done, left);
  rmsprop(p, moves, scratch, scratch + 16, scratch + 32, scratch + 48, 4);
  memory.copy(w + done, scratch + 16, left);
  memory.copy(v + done, scratch + 32, left);
  if (moves) memory.copy(b + done, scratch + 48, left);
}

function rmsprop(p: RmspropStepParams, moves: bool, g: usize, w: usize, v: usize, b: usize, count: i32): void {
  const rate = f32x4.splat(p.rate);
  const decay = f32x4.splat(p.decay);
  const alpha = f32x4.splat(p.alpha);
  const rest = f32x4.splat(1 - p.alpha);
  const momentum = f32x4.splat(p.momentum);
  const epsilon = f32x4.splat(p.epsilon);
  const bytes = <usize>count << 2;
  for (let at: usize = 0; at < bytes; at += 16) {
    const weight = v128.load(w + at);
    const gradient = f32x4.add(v128.load(g + at), f32x4.mul(decay, weight));
    const square = f32x4.mul(rest, f32x4.mul(gradient, gradient));
    const variance = f32x4.add(f32x4.mul(alpha, v128.load(v + at)), square);
    let step = f32x4.div(gradient, f32x4.add(f32x4.sqrt(variance), epsilon));
    if (moves) {
      step = f32x4.add(f32x4.mul(momentum, v128.load(b + at)), step);
      v128.store(b + at, step);
    }
    v128.store(v + at, variance);
    v128.store(w + at, f32x4.sub(weight, f32x4.mul(rate, step)));
  }
}

/** Whether the guard, the loss that the gradient came from, is infinite or NaN. */
// @ts-ignore: decorator
@inline
function diverged(buffers: usize): bool {
  return !isFinite<f32>(load<f32>(buffer(buffers, GUARD)));
}

/** The address of an array's element. */
// @ts-ignore: decorator
@inline
function place(buffers: usize, index: i32, element: i32): usize {
  return buffer(buffers, index) + (<usize>element << 2);
}
