/**
 * Patches of images, as the convolutions' matrix products take them: a matrix with a column for every pixel of the batch
 * and a row for every depth step (channel c, tap i, j), which never exists but for the stretch of pixels at hand. Its
 * entry is the image's
 *
 *     [c, y strideHeight - padTop + i dilationHeight, x strideWidth - padLeft + j dilationWidth],  0 outside
 *
 * for pixel (y, x). A dilation may be negative: the gradient of a convolution looks backwards.
 *
 * The stretch falls into *runs*, one for each row of pixels that it touches. At one depth step a run reads one row of the
 * image, from one column on, strideWidth apart: its pixels are zeros, then a strided copy, then zeros. The bounds
 * between them depend on j alone, so the copies need no test per pixel. A step is first written as a line of pixels, runs
 * one after the other, and then dealt out to panels: twice the moves, but all of them whole vectors whatever the
 * image's width.
 */
import { MICRO_COLUMNS } from "../gemm/micro32";
import { packAlong } from "../gemm/pack32";

/** The longest stretch. */
export const MOST_PIXELS: i32 = 512;
/** A line and a cache line: eight lines side by side do not fall into the same sets of the L1. */
const LINE_BYTES: usize = (<usize>MOST_PIXELS << 2) + 64;

/** One row's part of a stretch of pixels. */
@unmanaged
class Run {
  /** The image's first channel. */
  image: usize;
  /** The row of the image that the first tap reads; may lie outside. */
  row: i32;
  /** Columns [begin, end) of the pixels. */
  begin: i32;
  end: i32;
}

const RUN_BYTES: usize = offsetof<Run>();

/** Lives in scratch, with eight lines of pixels and at most MOST_PIXELS runs behind it. */
@unmanaged
export class PatchPacker {
  private channels: i32;
  private height: i32;
  private width: i32;
  private outHeight: i32;
  private outWidth: i32;
  private strideHeight: i32;
  private strideWidth: i32;
  private tapsDown: i32;
  private tapsAcross: i32;
  private dilationHeight: i32;
  private dilationWidth: i32;
  private padTop: i32;
  private padLeft: i32;
  private pixels: i32;
  private runs: i32;
  /** The next depth step. */
  private c: i32;
  private i: i32;
  private j: i32;

  /** What is read: images of so many channels. */
  setImages(channels: i32, height: i32, width: i32): void {
    this.channels = channels;
    this.height = height;
    this.width = width;
  }

  /** The pixels that patches are of, and how far apart they lie in the image. */
  setPixels(height: i32, width: i32, strideHeight: i32, strideWidth: i32): void {
    this.outHeight = height;
    this.outWidth = width;
    this.strideHeight = strideHeight;
    this.strideWidth = strideWidth;
  }

  setTaps(down: i32, across: i32, dilationHeight: i32, dilationWidth: i32, padTop: i32, padLeft: i32): void {
    this.tapsDown = down;
    this.tapsAcross = across;
    this.dilationHeight = dilationHeight;
    this.dilationWidth = dilationWidth;
    this.padTop = padTop;
    this.padLeft = padLeft;
  }

  /** Turns to the pixels [pixel, pixel + pixels) of the batch, and to depth step 0. */
  start(images: usize, pixel: i32, pixels: i32): void {
    const imageBytes = <usize>(this.channels * this.height * this.width) << 2;
    this.pixels = pixels;
    this.seek(0);
    if (this.outHeight * this.outWidth == 1) {
      const run = this.run(0);
      run.image = images + <usize>pixel * imageBytes;
      run.row = -this.padTop;
      return;
    }
    let runs = 0;
    let line = pixel / this.outWidth;
    let begin = pixel - line * this.outWidth;
    for (let left = pixels; left > 0; runs++) {
      const run = this.run(runs);
      const number = line / this.outHeight;
      const y = line - number * this.outHeight;
      run.image = images + <usize>number * imageBytes;
      run.row = y * this.strideHeight - this.padTop;
      run.begin = begin;
      run.end = min(this.outWidth, begin + left);
      left -= run.end - begin;
      begin = 0;
      line++;
    }
    this.runs = runs;
  }

  /** Turns to another depth step. */
  seek(step: i32): void {
    const taps = this.tapsDown * this.tapsAcross;
    this.c = step / taps;
    const tap = step - this.c * taps;
    this.i = tap / this.tapsAcross;
    this.j = tap - this.i * this.tapsAcross;
  }

  /** Packs the next `steps` depth steps along the depth: panels of 8 pixels, zeros beyond the last. */
  pack(steps: i32, into: usize): void {
    const line = this.line(0);
    const panels = (this.pixels + MICRO_COLUMNS - 1) / MICRO_COLUMNS;
    const panelBytes = <usize>(steps * MICRO_COLUMNS) << 2;
    zero(line + (<usize>this.pixels << 2), panels * MICRO_COLUMNS - this.pixels);
    for (let step = 0; step < steps; step++) {
      this.writeLine(line);
      let to = into;
      let from = line;
      for (let panel = 0; panel < panels; panel++) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
        from += 32;
        to += panelBytes;
      }
      into += MICRO_COLUMNS << 2;
    }
  }

  /** Packs the next `steps` depth steps along the pixels: panels of 8 steps, zeros beyond the last. */
  packTransposed(steps: i32, into: usize): void {
    const panelBytes = <usize>(this.pixels * MICRO_COLUMNS) << 2;
    for (let step = 0; step < steps; step += MICRO_COLUMNS) {
      for (let t = 0; t < MICRO_COLUMNS; t++) {
        if (step + t < steps) this.writeLine(this.line(t));
        else zero(this.line(t), this.pixels);
      }
      packAlong(this.line(0), LINE_BYTES, MICRO_COLUMNS, this.pixels, MICRO_COLUMNS, into);
      into += panelBytes;
    }
  }

  /** The pixels at the next depth step. */
  private writeLine(line: usize): void {
    const width = this.width;
    const height = this.height;
    const stride = this.strideWidth;
    const channel = <usize>(this.c * height * width) << 2;
    const down = this.i * this.dilationHeight;
    if (this.outHeight * this.outWidth == 1) {
      this.writeImages(line, channel, this.run(0).row + down, this.j * this.dilationWidth - this.padLeft);
      this.advance();
      return;
    }
    // Column x of the pixels reads column x stride + shift: inside for x in [first, last).
    const shift = this.j * this.dilationWidth - this.padLeft;
    const first = shift >= 0 ? 0 : (stride - 1 - shift) / stride;
    const last = shift >= width ? 0 : (width - 1 - shift) / stride + 1;
    for (let index = 0; index < this.runs; index++) {
      const run = this.run(index);
      const row = run.row + down;
      const begin = run.begin;
      const end = run.end;
      let low = max(begin, first);
      let high = min(end, last);
      if (<u32>row >= <u32>height || low >= high) {
        low = end;
        high = end;
      }
      if (low > begin) zero(line, low - begin);
      if (high > low) {
        const from = run.image + channel + (<usize>(row * width + low * stride + shift) << 2);
        copyStrided(line + (<usize>(low - begin) << 2), from, high - low, stride);
      }
      if (end > high) zero(line + (<usize>(high - begin) << 2), end - high);
      line += <usize>(end - begin) << 2;
    }
    this.advance();
  }

  /** A line of images that have one pixel each: one place of all of them. */
  private writeImages(line: usize, channel: usize, row: i32, column: i32): void {
    if (<u32>row < <u32>this.height && <u32>column < <u32>this.width) {
      const from = this.run(0).image + channel + (<usize>(row * this.width + column) << 2);
      copyStrided(line, from, this.pixels, this.channels * this.height * this.width);
    } else zero(line, this.pixels);
  }

  private advance(): void {
    if (++this.j < this.tapsAcross) return;
    this.j = 0;
    if (++this.i < this.tapsDown) return;
    this.i = 0;
    this.c++;
  }

  // @ts-ignore: decorator
  @inline
  private line(index: i32): usize {
    return changetype<usize>(this) + ((offsetof<PatchPacker>() + 15) & ~15) + <usize>index * LINE_BYTES;
  }

  // @ts-ignore: decorator
  @inline
  private run(index: i32): Run {
    return changetype<Run>(this.line(MICRO_COLUMNS) + <usize>index * RUN_BYTES);
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
