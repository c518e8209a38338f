import { describe, expect, it } from "vitest";
import { specOf } from "../../../test/kernel-job-source.ts";
import { type Manifest, differences, isLeadingPart, manifestChecksum, manifestOf, requireSameJob } from "./manifest.ts";

const base = manifestOf(specOf(10, 6, 4));

function difference(changed: Partial<Manifest>): unknown {
  try {
    requireSameJob("K.zarr", base, { ...base, ...changed });
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("a manifest", () => {
  it("differs line by line, with the path to each value", () => {
    expect(
      differences(
        { arch: { layers: [{ weightVariance: 2.79 }, { kind: "relu" }] }, tile: 4 },
        { arch: { layers: [{ weightVariance: 2.8 }] }, tile: 4, kind: "ntk" },
      ),
    ).toEqual([
      "arch.layers[0].weightVariance: 2.79 -> 2.8",
      'arch.layers[1]: {"kind":"relu"} -> (absent)',
      "kind: (absent) -> ntk",
    ]);
  });

  it.each<[string, Partial<Manifest>, string]>([
    ["architecture", { arch: { layers: [] } }, 'arch.layers[1]: {"layer":"relu"} -> (absent)'],
    ["dataset", { dataset: { name: "hash", sha256: "cd".repeat(32) } }, "dataset.sha256: abab"],
    ["rows", { rows: [[0, 9]] }, "rows: 0:10 -> 0:9"],
    ["columns", { columns: [[3, 9]] }, "columns: 0:6 -> 3:9"],
    ["precision", { precision: "f64" }, "precision: f32 -> f64"],
    ["tile size", { tile: 8 }, "tile: 4 -> 8"],
    ["backend", { backend: "webgpu" }, "backend: wasm -> webgpu"],
    ["instruction set", { adapter: "relaxed" }, "instructions: "],
    ["minor version", { widefield: "999.1.0" }, "widefield: "],
    ["kind", { kind: "ntk" }, "kind: nngp -> ntk"],
    ["exponent", { exponent: 40 }, "exponent: 0 -> 40"],
    ["symmetry", { symmetric: true }, "symmetric: false -> true"],
  ])("of another %s is refused with that line", (_name, changed, line) => {
    expect(difference(changed)).toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringContaining(`\n  ${line}`) as string,
    });
  });

  it("may differ in what changes no bit of the matrix", () => {
    const [major, minor] = base.widefield.split(".");
    const same = {
      threads: 64,
      created: "2001-01-01T00:00:00Z",
      seeds: { x: 1 },
      widefield: `${major ?? ""}.${minor ?? ""}.999`,
      dataset: { ...base.dataset, name: "by another name" },
      rows: [
        [0, 4],
        [4, 10],
      ] as [number, number][],
    };
    expect(difference(same)).toBeUndefined();
  });

  it("is refused when a job writes down what cannot be", () => {
    expect(() => manifestOf(specOf(10, 6, 4, { symmetric: true }))).toThrow(/same rows and columns/);
    expect(() => manifestOf(specOf(10, 6, 0))).toThrow(/tile/);
    expect(() => manifestOf(specOf(10, 6, 4, { rows: [[5, 5]] }))).toThrow(/begin < end/);
  });

  it("has a checksum that ignores the order of keys, and nothing else", () => {
    const reversed = Object.fromEntries(Object.entries(base).reverse());
    expect(manifestChecksum(reversed)).toBe(manifestChecksum(base));
    expect(manifestChecksum({ ...base, exponent: 1 })).not.toBe(manifestChecksum(base));
  });
});

describe("a leading part", () => {
  it.each<[[number, number][], [number, number][], boolean]>([
    [[[5, 8]], [[5, 10]], true],
    [[[5, 10]], [[5, 10]], true],
    [[[5, 11]], [[5, 10]], false],
    [[[6, 8]], [[5, 10]], false],
    [
      [
        [5, 10],
        [0, 2],
      ],
      [
        [5, 10],
        [0, 5],
      ],
      true,
    ],
    [
      [
        [5, 9],
        [0, 2],
      ],
      [
        [5, 10],
        [0, 5],
      ],
      false,
    ],
    [
      [
        [5, 7],
        [7, 9],
      ],
      [
        [5, 6],
        [6, 10],
      ],
      true,
    ],
    [
      [
        [5, 10],
        [0, 2],
        [3, 4],
      ],
      [
        [5, 10],
        [0, 2],
      ],
      false,
    ],
  ])("%j of %j: %s", (part, whole, expected) => {
    expect(isLeadingPart(part, whole)).toBe(expected);
  });
});
