/**
 * Packing for conv2d: the patches of a block of output pixels, a depth step (input channel c, tap i, j) at a time, in
 * the layout that the micro-kernel reads (panels of 8 pixels, see `gemm/pack32.ts`).
 *
 * The block's pixels fall into *runs*, one for each output row that it touches. At one depth step a run reads one input
 * row, from one column on, strideWidth apart: its pixels are zeros, then a strided copy, then zeros. The bounds
 * between them depend on j alone, so the copies need no test per pixel. A step is first written as a line of pixels, runs
 * one after the other, and then dealt out to the panels: twice the moves, but all of them whole vectors whatever the
 * image's width.
 */
import { Conv2dParams } from "../generated/kernels";
import { MICRO_COLUMNS } from "../gemm/micro32";

const BLOCK_PIXELS: i32 = 256;
const LINE_BYTES: usize = <usize>BLOCK_PIXELS << 2;

/** One output row's part of a block. */
@unmanaged
class Run {
  /** The image's first channel. */
  image: usize;
  /** The input row of the filter's first tap; may lie outside. */
  row: i32;
  /** Output columns [begin, end). */
  begin: i32;
  end: i32;
}

const RUN_BYTES: usize = offsetof<Run>();

/** Lives in scratch, with a line of pixels and at most BLOCK_PIXELS runs behind it. */
@unmanaged
export class PatchPacker {
  pixels: i32;
  runs: i32;
  /** The next depth step. */
  c: i32;
  i: i32;
  j: i32;

  /** Turns to the pixels [pixel, pixel + pixels) of the batch, and to depth step 0. */
  start(p: Conv2dParams, input: usize, pixel: i32, pixels: i32): void {
    const outWidth = <i32>p.outWidth;
    const outHeight = <i32>p.outHeight;
    const imageBytes = <usize>(p.inChannels * p.inHeight * p.inWidth) << 2;
    this.pixels = pixels;
    this.c = 0;
    this.i = 0;
    this.j = 0;
    let runs = 0;
    let line = pixel / outWidth;
    let begin = pixel - line * outWidth;
    for (let left = pixels; left > 0; runs++) {
      const run = this.run(runs);
      const number = line / outHeight;
      const y = line - number * outHeight;
      run.image = input + <usize>number * imageBytes;
      run.row = y * <i32>p.strideHeight - p.padTop;
      run.begin = begin;
      run.end = min(outWidth, begin + left);
      left -= run.end - begin;
      begin = 0;
      line++;
    }
    this.runs = runs;
  }

  /** Packs the next `steps` depth steps into panels of `steps` x 8 floats. Pixels beyond the last are zeros. */
  pack(p: Conv2dParams, steps: i32, into: usize): void {
    const line = this.line();
    const panels = (this.pixels + MICRO_COLUMNS - 1) / MICRO_COLUMNS;
    const panelBytes = <usize>(steps * MICRO_COLUMNS) << 2;
    zero(line + (<usize>this.pixels << 2), panels * MICRO_COLUMNS - this.pixels);
    for (let step = 0; step < steps; step++) {
      this.writeLine(p, line);
      let to = into;
      let from = line;
      for (let panel = 0; panel < panels; panel++) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
        from += 32;
        to += panelBytes;
      }
      into += MICRO_COLUMNS << 2;
      this.advance(p);
    }
  }

  /** The block's pixels at the current depth step. */
  private writeLine(p: Conv2dParams, line: usize): void {
    const inWidth = <i32>p.inWidth;
    const inHeight = <i32>p.inHeight;
    const stride = <i32>p.strideWidth;
    const channel = <usize>(this.c * inHeight * inWidth) << 2;
    const down = this.i * <i32>p.dilationHeight;
    // Output column x reads input column x stride + shift: inside for x in [first, last).
    const shift = this.j * <i32>p.dilationWidth - p.padLeft;
    const first = shift >= 0 ? 0 : (stride - 1 - shift) / stride;
    const last = shift >= inWidth ? 0 : (inWidth - 1 - shift) / stride + 1;
    for (let index = 0; index < this.runs; index++) {
      const run = this.run(index);
      const row = run.row + down;
      const begin = run.begin;
      const end = run.end;
      let low = max(begin, first);
      let high = min(end, last);
      if (<u32>row >= <u32>inHeight || low >= high) {
        low = end;
        high = end;
      }
      if (low > begin) zero(line, low - begin);
      if (high > low) {
        const from = run.image + channel + (<usize>(row * inWidth + low * stride + shift) << 2);
        copyStrided(line + (<usize>(low - begin) << 2), from, high - low, stride);
      }
      if (end > high) zero(line + (<usize>(high - begin) << 2), end - high);
      line += <usize>(end - begin) << 2;
    }
  }

  private advance(p: Conv2dParams): void {
    if (++this.j < <i32>p.kernelWidth) return;
    this.j = 0;
    if (++this.i < <i32>p.kernelHeight) return;
    this.i = 0;
    this.c++;
  }

  // @ts-ignore: decorator
  @inline
  private line(): usize {
    return changetype<usize>(this) + ((offsetof<PatchPacker>() + 15) & ~15);
  }

  // @ts-ignore: decorator
  @inline
  private run(index: i32): Run {
    return changetype<Run>(this.line() + LINE_BYTES + <usize>index * RUN_BYTES);
  }
}

// Neither reads nor writes beyond `count` floats: the last vector overlaps the one before it.

function zero(to: usize, count: i32): void {
  const nothing = f32x4.splat(0);
  if (count >= 4) {
    const end = to + (<usize>count << 2);
    for (; to + 16 <= end; to += 16) v128.store(to, nothing);
    v128.store(end - 16, nothing);
  } else {
    for (let i = 0; i < count; i++) store<f32>(to + (<usize>i << 2), 0);
  }
}

/** to[t] = from[t stride] for t < count. */
function copyStrided(to: usize, from: usize, count: i32, stride: i32): void {
  if (stride == 1 && count >= 4) {
    const end = to + (<usize>count << 2);
    const offset = from - to;
    for (; to + 16 <= end; to += 16) v128.store(to, v128.load(to + offset));
    v128.store(end - 16, v128.load(end - 16 + offset));
    return;
  }
  let t = 0;
  if (stride == 2) {
    // Four pixels lie within seven floats: two vectors, the second beginning at the fourth.
    for (; t + 4 <= count; t += 4) {
      const even = v128.shuffle<f32>(v128.load(from), v128.load(from, 12), 0, 2, 5, 7);
      v128.store(to, even);
      from += 32;
      to += 16;
    }
  }
  const step = <usize>stride << 2;
  for (; t < count; t++) {
    store<f32>(to, load<f32>(from));
    from += step;
    to += 4;
  }
}
