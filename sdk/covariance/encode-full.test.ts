/** Where the words of full programs say that maps stand: every sum of a pool in a place of its own. */
import { describe, expect, it } from "vitest";
import { avgPool, compile, conv, dense, flatten, globalAvgPool, relu, serial, type Arch } from "../arch/arch.ts";
import { ABSENT, encodeFull } from "./encode-full.ts";
import { STEP_WORDS } from "./encode.ts";
import { NO_TABLE, type Program } from "./program.ts";

const NTK = { ntk: true, parametrisation: "ntk" } as const;

/** First pixels and sizes of a pool's maps in the state, by offset and side, as interpreters find them. */
function places(program: Program, index: number): { at: number; pixels: number; key: string }[] {
  const { words } = encodeFull(program);
  const word = (at: number): number => words[at] ?? NaN;
  const [state, axisY, axisX] = [45, 46, 47].map((field) => word(index * STEP_WORDS + field)) as [
    number,
    number,
    number,
  ];
  const [height, width] = [word(axisY), word(axisX)];
  const found: { at: number; pixels: number; key: string }[] = [];
  for (const side of [0, 1, 2]) {
    for (let y = 1 - height; y < height; y++) {
      for (let x = 1 - width; x < width; x++) {
        const frontY = word(axisY + 2 + side * (2 * height - 1) + height - 1 + y);
        const frontX = word(axisX + 2 + width - 1 + x);
        if (frontY === ABSENT || frontX === ABSENT) continue;
        const at = state + frontY * word(axisX + 1) + (height - Math.abs(y)) * frontX;
        found.push({ at, pixels: (height - Math.abs(y)) * (width - Math.abs(x)), key: `${y},${x}` });
      }
    }
  }
  return found;
}

function poolOf(arch: Arch): { program: Program; index: number } {
  const program = compile(arch, [2, 9, 8], NTK);
  return { program, index: program.steps.findIndex(({ kind }) => kind === "pool") };
}

describe("the sums of a pool", () => {
  const behind = [conv({ filter: 3 }), relu(), globalAvgPool(), dense()] as const;
  for (const [window, stride] of [
    [2, 2],
    [3, 2],
    [3, 1],
    [4, 3],
    [1, 2],
  ] as const) {
    it(`of windows ${window} and strides ${stride} stand in places of their own, three where rows are shared`, () => {
      const { program, index } = poolOf(serial(conv({ filter: 3 }), avgPool({ window, stride }), ...behind));
      const { plan } = encodeFull(program);
      const state = plan.steps[index]?.pooled;
      const taken = new Map<number, string>();
      const copies = new Map<string, Set<number>>();
      for (const { at, pixels, key } of places(program, index)) {
        copies.set(key, (copies.get(key) ?? new Set()).add(at));
        for (let pixel = at; pixel < at + pixels; pixel++) {
          expect(taken.get(pixel) ?? `${key} ${at}`).toBe(`${key} ${at}`);
          taken.set(pixel, `${key} ${at}`);
        }
      }
      expect(taken.size).toBe(state?.pixels);
      expect(Math.max(...taken.keys())).toBe((state?.base ?? NaN) + (state?.pixels ?? NaN) - 1);
      for (const [key, places] of copies) {
        const y = Number(key.split(",")[0]);
        expect([key, places.size]).toEqual([key, Math.abs(y) * stride <= window - 1 ? 3 : 1]);
      }
    });
  }
});

describe("the table of a convolution's input", () => {
  const edges = (arch: Arch): boolean[] => {
    const program = compile(arch, [2, 9, 8], NTK);
    const { words } = encodeFull(program);
    return program.steps.flatMap(({ kind }, at) => (kind === "conv" ? [words[at * STEP_WORDS + 45] !== NO_TABLE] : []));
  };

  it("is there where offsets bring a tap beside one image", () => {
    expect(edges(serial(conv({ filter: 3 }), relu(), conv({ filter: 2 }), globalAvgPool(), dense()))).toEqual([
      true,
      true,
    ]);
  });

  it("is not there without padding, nor where offset 0 is the only one", () => {
    const inside = conv({ filter: 3, padding: "valid" });
    expect(edges(serial(inside, relu(), globalAvgPool(), dense()))).toEqual([false]);
    expect(edges(serial(conv({ filter: 3 }), relu(), flatten(), dense()))).toEqual([false]);
  });
});
