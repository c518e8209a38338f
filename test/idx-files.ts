/** IDX files for tests: small, valid folders in memory, which a test then damages. */
import { gzipSync } from "node:zlib";
import type { ReadFile } from "../sdk/data/idx.ts";
import { RandomStream } from "../sdk/engine/rng.ts";

/** An IDX file of unsigned bytes with the given dimensions. */
export function idxFile(dimensions: readonly number[], elements: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * dimensions.length + elements.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x0800 | dimensions.length);
  dimensions.forEach((size, i) => view.setUint32(4 + 4 * i, size));
  bytes.set(Array.from(elements), 4 + 4 * dimensions.length);
  return bytes;
}

export function gzip(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(gzipSync(bytes));
}

export function randomBytes(seed: number, stream: string, count: number, below = 256): Uint8Array {
  const random = new RandomStream(seed, stream);
  return Uint8Array.from({ length: count }, () => random.below(below));
}

/** A folder "data" with the four files of a tiny MNIST, images of 4 x 3 pixels; the first half of each packed. */
export function tinyFolder(seed: number, trainCount: number, testCount: number): Map<string, Uint8Array> {
  const images = (part: string, n: number) => idxFile([n, 4, 3], randomBytes(seed, `${part}.images`, n * 12));
  const labels = (part: string, n: number) => idxFile([n], randomBytes(seed, `${part}.labels`, n, 10));
  return new Map([
    ["data/train-images-idx3-ubyte.gz", gzip(images("train", trainCount))],
    ["data/train-labels-idx1-ubyte", labels("train", trainCount)],
    ["data/t10k-images-idx3-ubyte.gz", gzip(images("test", testCount))],
    ["data/t10k-labels-idx1-ubyte", labels("test", testCount)],
  ]);
}

export function inMemory(files: ReadonlyMap<string, Uint8Array>): ReadFile {
  return async (path) => files.get(path);
}
