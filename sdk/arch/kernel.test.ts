/** The diagonal of a kernel: what it refuses, and how it is stopped and followed. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { imageSet, wasmEngine } from "../../test/engines.ts";
import type { MatrixProgress } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { conv, dense, flatten, globalAvgPool, relu, repeat, serial, type Arch } from "./arch.ts";
import { kernel, kernelDiagonal } from "./kernel.ts";
import { archTiles } from "./spec-tiles.ts";

let wasm: Engine;
beforeAll(async () => {
  wasm = await wasmEngine();
});
afterAll(() => wasm.close());

const shape = [1, 3, 4] as const;
const arch = serial(conv({ filter: 3 }), relu(), flatten());
const images = Array.from({ length: 10 }, (_, index) => new Float32Array(12).fill(1 + index));

describe("kernelDiagonal", () => {
  it("refuses an image whose variance overflows, naming it", async () => {
    const set = imageSet([...images.slice(0, 7), new Float32Array(12).fill(1e25)], shape);
    await expect(kernelDiagonal(wasm, arch, set, { tile: 3 })).rejects.toMatchObject({
      code: "E_OVERFLOW",
      message: expect.stringMatching(/the kernel of image 7 with itself is Infinity/) as string,
      details: { row: 7 },
    });
  });

  it("refuses a kernel that leaves float64 once its power of two is multiplied in", async () => {
    const deep = serial(repeat(8, serial(dense({ weightVariance: 1e60 }), relu())), dense());
    const set = imageSet([Float32Array.of(0), Float32Array.of(1)], [1]);
    const { exponent } = await kernel(wasm, deep, set);
    expect(exponent).toBeGreaterThan(1023);
    await expect(kernelDiagonal(wasm, deep, set)).rejects.toMatchObject({ code: "E_OVERFLOW", details: { row: 1 } });
  });

  it("says how far it is after every block, and stops between two", async () => {
    const set = imageSet(images, shape);
    const seen: MatrixProgress[] = [];
    await kernelDiagonal(wasm, arch, set, { tile: 4, onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ pairsDone, pairsTotal }) => [pairsDone, pairsTotal])).toEqual([
      [4, 10],
      [8, 10],
      [10, 10],
    ]);
    const controller = new AbortController();
    const stopped = kernelDiagonal(wasm, arch, set, {
      tile: 4,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({
      code: "E_ABORTED",
      message: expect.stringMatching(/4 of 10/) as string,
    });
    expect(wasm.backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });

  it("and kernel refuse what is no architecture", async () => {
    const set = imageSet(images, shape);
    for (const nothing of [{ type: "flatten" }, undefined] as unknown as Arch[])
      for (const ask of [kernel(wasm, nothing, set), kernelDiagonal(wasm, nothing, set)])
        await expect(ask).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});

describe("the usual tile", () => {
  it("of pairs that take a tenth of a second each is small, so that Ctrl-C and progress come in time", async () => {
    const block = serial(conv({ filter: 3 }), relu());
    const deep = serial(repeat(11, block), globalAvgPool(), dense());
    const large = imageSet([new Float32Array(3 * 64 * 64)], [3, 64, 64]);
    const { tiles, tile } = await archTiles(wasm, { arch: deep }, ["ntk"], large, large, "f32");
    tiles.dispose();
    expect(tile).toBe(8);
  });
});
