/**
 * Packing for matmul. An operand (op(A), or op(B) transposed in the mind: its columns) is a set of *lines* that each
 * run along the inner dimension. The micro-kernel reads `width` lines at a time, so a packed operand is
 *
 *     panel of lines [0, width): depth x width floats     panel of lines [width, 2 width): ...
 *
 * with lines beyond the last one filled with zeros. Transposes of A and B come down to which of the two functions
 * reads them; nothing after packing knows.
 */

/** Lines whose entries are contiguous along the depth (A as stored, B transposed): 4 x 4 transposes in registers. */
export function packAlong(from: usize, stride: usize, lines: i32, depth: i32, width: i32, into: usize): void {
  packPiece(from, stride, lines, depth, width, into, depth);
}

/** `packAlong` of a stretch of the depth, into panels that hold `panel` steps: `into` is its place in the first. */
export function packPiece(
  from: usize,
  stride: usize,
  lines: i32,
  depth: i32,
  width: i32,
  into: usize,
  panel: i32,
): void {
  const step = <usize>width << 2;
  const padded = ((lines + width - 1) / width) * width;
  for (let line = 0; line < padded; line += 4) {
    const within = line % width;
    let to = into + (<usize>(line - within) * panel << 2) + (<usize>within << 2);
    const source = from + <usize>line * stride;
    if (line + 4 <= lines) packFour(source, stride, depth, to, step);
    else {
      for (let p = 0; p < depth; p++) {
        for (let i = 0; i < 4; i++) {
          const value = line + i < lines ? load<f32>(source + <usize>i * stride + (<usize>p << 2)) : 0;
          store<f32>(to + (<usize>i << 2), value);
        }
        to += step;
      }
    }
  }
}

function packFour(source: usize, stride: usize, depth: i32, to: usize, step: usize): void {
  let l0 = source;
  let l1 = l0 + stride;
  let l2 = l1 + stride;
  let l3 = l2 + stride;
  let p = 0;
  for (; p + 4 <= depth; p += 4) {
    const r0 = v128.load(l0);
    const r1 = v128.load(l1);
    const r2 = v128.load(l2);
    const r3 = v128.load(l3);
    const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
    to += step;
    v128.store(to, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
    to += step;
    v128.store(to, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
    to += step;
    v128.store(to, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
    to += step;
    l0 += 16;
    l1 += 16;
    l2 += 16;
    l3 += 16;
  }
  for (; p < depth; p++) {
    store<f32>(to, load<f32>(l0));
    store<f32>(to, load<f32>(l1), 4);
    store<f32>(to, load<f32>(l2), 8);
    store<f32>(to, load<f32>(l3), 12);
    to += step;
    l0 += 4;
    l1 += 4;
    l2 += 4;
    l3 += 4;
  }
}

/** Lines that lie side by side, an entry of each per step of the depth (A transposed, B as stored): plain copies. */
export function packAcross(from: usize, stride: usize, lines: i32, depth: i32, width: i32, into: usize): void {
  let to = into;
  for (let line = 0; line < lines; line += width) {
    let source = from + (<usize>line << 2);
    const valid = min(width, lines - line);
    if (valid == 8) {
      for (let p = 0; p < depth; p++) {
        v128.store(to, v128.load(source));
        v128.store(to, v128.load(source, 16), 16);
        source += stride;
        to += 32;
      }
    } else if (valid == 4 && width == 4) {
      for (let p = 0; p < depth; p++) {
        v128.store(to, v128.load(source));
        source += stride;
        to += 16;
      }
    } else {
      for (let p = 0; p < depth; p++) {
        for (let i = 0; i < width; i++) {
          store<f32>(to, i < valid ? load<f32>(source + (<usize>i << 2)) : 0);
          to += 4;
        }
        source += stride;
      }
    }
  }
}
