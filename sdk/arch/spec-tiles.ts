/**
 * PLACEHOLDER, to be replaced: tiles of any kernel by its spec. NNGP kernels come from their programs; of the closed
 * kernels ntk2, rf2 and poly are here as plain float64 loops on one thread.
 */
import type { KernelTiles, SizedTiles } from "../covariance/kernel-tiles.ts";
import type { Values } from "../covariance/matrix.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { imageBlock, kernelTiles, type ImageSet, type TileBudget } from "./kernel.ts";
import type { KernelSpec } from "./kernel-spec.ts";

export async function specTiles(
  engine: Engine,
  spec: KernelSpec,
  rows: ImageSet,
  columns: ImageSet,
  precision: Precision,
  budget: TileBudget = {},
): Promise<SizedTiles> {
  if (spec.name === "arch") {
    if (spec.kind !== "nngp") throw new WidefieldError("E_CONFIG", "this build has no NTK of architectures");
    const { tiles, ...size } = await kernelTiles(engine, spec.arch, rows, columns, precision, budget);
    return { tiles: Object.assign(tiles, { outputs: 1 }), ...size };
  }
  const value = pairValue(spec);
  const [x, z] = [imageBlock(rows, "X"), imageBlock(columns, "Y")];
  const d = x.floats;
  const compute = async (
    rowBegin: number,
    rowEnd: number,
    columnBegin: number,
    columnEnd: number,
    diagonal: boolean,
  ): Promise<Values> => {
    const [a, b] = [x.slice(rowBegin, rowEnd), z.slice(columnBegin, columnEnd)];
    const width = columnEnd - columnBegin;
    const tile = new Float64Array((rowEnd - rowBegin) * width);
    for (let i = 0; i < rowEnd - rowBegin; i++)
      for (let j = 0; j < width; j++) {
        const same = diagonal && rowBegin + i === columnBegin + j;
        if (diagonal && columnBegin + j > rowBegin + i) continue;
        tile[i * width + j] = value(a.subarray(i * d, (i + 1) * d), b.subarray(j * d, (j + 1) * d), same);
      }
    if (diagonal)
      for (let i = 0; i < rowEnd - rowBegin; i++)
        for (let j = i + 1; j < width; j++) tile[i * width + j] = tile[j * width + i] as number;
    return precision === "f64" ? tile : Float32Array.from(tile);
  };
  const tiles: KernelTiles = {
    outputs: 1,
    peakBytes: (tileRows, tileColumns) => 8 * tileRows * tileColumns,
    compute,
    computeTile: async (...range) => Float32Array.from(await compute(...range)),
    variances: async (begin, end) =>
      Float64Array.from({ length: end - begin }, (_, i) => {
        const image = x.slice(begin + i, begin + i + 1);
        return value(image, image, true);
      }),
    dispose: () => undefined,
  };
  return { tiles, exponent: 0, rows: x.count, columns: z.count };
}

type Image = Float32Array | Float64Array;

function pairValue(spec: Exclude<KernelSpec, { name: "arch" }>): (x: Image, z: Image, same: boolean) => number {
  const inner = (x: Image, z: Image) => {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (z[i] as number);
    return sum;
  };
  const angled = (shape: (c: number, s: number) => number) => (x: Image, z: Image, same: boolean) => {
    const size = Math.sqrt(inner(x, x) * inner(z, z));
    if (size === 0) return 0;
    const c = same ? 1 : Math.max(-1, Math.min(1, inner(x, z) / size));
    return size * shape(c, Math.sqrt((1 - c) * (1 + c)));
  };
  if (spec.name === "ntk2") return angled((c, s) => c * (1 - Math.acos(c) / Math.PI) + s / (2 * Math.PI));
  if (spec.name === "rf2") return angled((c, s) => ((c * Math.asin(c)) / Math.PI + c / 2 + s / Math.PI) / 2);
  if (spec.name === "poly") return (x, z) => (spec.constant + inner(x, z) / Math.sqrt(x.length)) ** spec.degree;
  throw new WidefieldError("E_CONFIG", `this build has no kernel ${spec.name}`);
}
