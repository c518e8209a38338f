/**
 * out[n, c, p] = alpha a[n, c, p] + beta b[n strideBatch + c strideChannel + p stridePixel] in float32 (schema:
 * `sdk/engine/kernels/broadcast-add.ts`). A work item is a plane (n, c). Products and the sum are rounded one by one, vectors
 * and tail alike. `out` may be the same buffer as `a`. Cost: the memory traffic.
 */
import { buffer } from "./dispatch";
import { BroadcastAddParams } from "./generated/kernels";

export function broadcastAdd(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<BroadcastAddParams>(params);
  const pixels = <i32>p.pixels;
  const bytes = <usize>pixels << 2;
  for (let item = begin; item < end; item++) {
    const n = item / <i32>p.channels;
    const c = item - n * <i32>p.channels;
    const b = buffer(buffers, 1) + (<usize>(n * p.strideBatch + c * p.strideChannel) << 2);
    const a = buffer(buffers, 0) + <usize>item * bytes;
    const out = buffer(buffers, 2) + <usize>item * bytes;
    if (p.stridePixel) addMap(pixels, p.alpha, a, p.beta, b, out);
    else addNumber(pixels, p.alpha, a, p.beta * load<f32>(b), out);
  }
}

function addMap(pixels: i32, alpha: f32, a: usize, beta: f32, b: usize, out: usize): void {
  const end = out + (<usize>pixels << 2);
  for (; out + 16 <= end; out += 16) {
    const scaled = f32x4.mul(f32x4.splat(beta), v128.load(b));
    v128.store(out, f32x4.add(f32x4.mul(f32x4.splat(alpha), v128.load(a)), scaled));
    a += 16;
    b += 16;
  }
  for (; out < end; out += 4) {
    store<f32>(out, alpha * load<f32>(a) + beta * load<f32>(b));
    a += 4;
    b += 4;
  }
}

function addNumber(pixels: i32, alpha: f32, a: usize, number: f32, out: usize): void {
  const end = out + (<usize>pixels << 2);
  for (; out + 16 <= end; out += 16) {
    v128.store(out, f32x4.add(f32x4.mul(f32x4.splat(alpha), v128.load(a)), f32x4.splat(number)));
    a += 16;
  }
  for (; out < end; out += 4) {
    store<f32>(out, alpha * load<f32>(a) + number);
    a += 4;
  }
}
