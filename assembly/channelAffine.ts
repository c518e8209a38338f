/**
 * out[n, c, p] = s[c] a[n, c, p] + t[c] b[n, c, p] + u[c] in float32 (schema: `sdk/engine/kernels/channels.ts`). A work item
 * is a plane (n, c); with pixels = 1, where planes are single numbers, vectors run along channels. Products and sums are
 * rounded one by one, (s a + t b) + u, vectors and tails alike. `out` may be the same buffer as `a` or `b`. Cost: the
 * memory traffic.
 */
import { buffer } from "./dispatch";
import { ChannelAffineParams } from "./generated/kernels";

export function channelAffine(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ChannelAffineParams>(params);
  const channels = <i32>p.channels;
  const planeBytes = <usize>p.pixels << 2;
  const a = buffer(buffers, 0);
  const b = buffer(buffers, 1);
  const s = buffer(buffers, 2);
  const t = s + (<usize>channels << 2);
  const u = p.useB ? t + (<usize>channels << 2) : t;
  const out = buffer(buffers, 3);
  let c = begin % channels;
  for (let item = begin; item < end; ) {
    const at = <usize>item * planeBytes;
    const skipped = <usize>c << 2;
    let taken = 1;
    if (p.pixels == 1) {
      taken = min(channels - c, end - item);
      if (p.useB) alongChannels(true, taken, a + at, b + at, s + skipped, t + skipped, u + skipped, out + at);
      else alongChannels(false, taken, a + at, b + at, s + skipped, t + skipped, u + skipped, out + at);
    } else {
      const scale = load<f32>(s + skipped);
      const shift = load<f32>(u + skipped);
      if (p.useB) alongPixels(true, planeBytes, a + at, b + at, scale, load<f32>(t + skipped), shift, out + at);
      else alongPixels(false, planeBytes, a + at, b + at, scale, 0, shift, out + at);
    }
    item += taken;
    c += taken;
    if (c == channels) c = 0;
  }
}

// @ts-ignore: decorator
@inline
function alongPixels(useB: bool, bytes: usize, a: usize, b: usize, s: f32, t: f32, u: f32, out: usize): void {
  const scaleA = f32x4.splat(s);
  const scaleB = f32x4.splat(t);
  const shift = f32x4.splat(u);
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    let value = f32x4.mul(scaleA, v128.load(a + at));
    if (useB) value = f32x4.add(value, f32x4.mul(scaleB, v128.load(b + at)));
    v128.store(out + at, f32x4.add(value, shift));
  }
  for (; at < bytes; at += 4) {
    let value = s * load<f32>(a + at);
    if (useB) value += t * load<f32>(b + at);
    store<f32>(out + at, value + u);
  }
}

// @ts-ignore: decorator
@inline
function alongChannels(useB: bool, count: i32, a: usize, b: usize, s: usize, t: usize, u: usize, out: usize): void {
  const bytes = <usize>count << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    let value = f32x4.mul(v128.load(s + at), v128.load(a + at));
    if (useB) value = f32x4.add(value, f32x4.mul(v128.load(t + at), v128.load(b + at)));
    v128.store(out + at, f32x4.add(value, v128.load(u + at)));
  }
  for (; at < bytes; at += 4) {
    let value = load<f32>(s + at) * load<f32>(a + at);
    if (useB) value += load<f32>(t + at) * load<f32>(b + at);
    store<f32>(out + at, value + load<f32>(u + at));
  }
}
