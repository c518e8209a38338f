/** MATLAB level 5 files for tests, as MATLAB's own `save` lays them out, byte for byte the elements of the format. */
import { deflateSync } from "node:zlib";

export interface MatlabArray {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of class and storage; "cell": an array without numbers. */
  readonly type: "uint8" | "double" | "double as uint8" | "cell";
  /** First dimension fastest. */
  readonly values: ArrayLike<number>;
}

export interface MatlabStyle {
  /** Default: true. */
  readonly little?: boolean;
  /** Default: true. */
  readonly compressed?: boolean;
}

const CLASSES = { uint8: 9, double: 6, "double as uint8": 6, cell: 1 } as const;

export function matlabFile(arrays: readonly MatlabArray[], style: MatlabStyle = {}): Uint8Array<ArrayBuffer> {
  const { little = true, compressed = true } = style;
  const header = new Uint8Array(128).fill(32);
  header.set(new TextEncoder().encode("MATLAB 5.0 MAT-file, Platform: TEST"));
  header.set(little ? [0, 1, 0x49, 0x4d] : [1, 0, 0x4d, 0x49], 124);
  const elements = arrays.map((array) => {
    const whole = matrix(array, little);
    return compressed ? element(15, deflateSync(whole), little, false) : whole;
  });
  return joined([header, ...elements]);
}

function matrix({ name, shape, type, values }: MatlabArray, little: boolean): Uint8Array<ArrayBuffer> {
  const numbers =
    type === "double"
      ? element(9, floats(values, little), little)
      : type === "cell"
        ? new Uint8Array()
        : element(2, Uint8Array.from(values), little);
  const parts = [
    element(6, words([CLASSES[type], 0], little), little),
    element(5, words(shape, little), little),
    element(1, new TextEncoder().encode(name), little),
    numbers,
  ];
  return element(14, joined(parts), little);
}

/** Up to four bytes stand in the tag itself. */
function element(type: number, content: Uint8Array, little: boolean, padded = true): Uint8Array<ArrayBuffer> {
  const { length } = content;
  const small = length > 0 && length <= 4;
  const tag = small ? words([(length << 16) | type], little) : words([type, length], little);
  const size = tag.length + length;
  return joined([tag, content, new Uint8Array(padded ? Math.ceil(size / 8) * 8 - size : 0)]);
}

function words(values: readonly number[], little: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setUint32(4 * i, value, little));
  return new Uint8Array(view.buffer);
}

function floats(values: ArrayLike<number>, little: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * values.length));
  for (let i = 0; i < values.length; i++) view.setFloat64(8 * i, values[i] ?? NaN, little);
  return new Uint8Array(view.buffer);
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
