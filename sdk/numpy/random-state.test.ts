/** What RandomState draws, against numbers that NumPy 2.4 printed for the same calls in the same order. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WidefieldError } from "../errors.ts";
import { RandomState } from "./random-state.ts";

describe("RandomState draws what NumPy draws", () => {
  it("rand", () => {
    expect([...new RandomState(0).rand(3)]).toEqual([0.5488135039273248, 0.7151893663724195, 0.6027633760716439]);
    const afterTwists = new RandomState(123).rand(700); // 1,400 words: three times the whole state
    expect([afterTwists[311], afterTwists[312], afterTwists[699]]).toEqual([
      0.6609517950296032, 0.29824539331732947, 0.8475023105281434,
    ]);
  });

  // The normal number that a pair leaves behind is used up by the next call of normal, whatever comes between.
  const mixed: [seed: number, drawn: number[]][] = [
    [
      1,
      [
        1.6243453636632417, 0.00011437481734488664, 2.694121793174962, 3, -4.203442007537356, 2.769733337641611, 3, 5,
        4, 0, 2, 1, -1, -1.477829570840994,
      ],
    ],
    [
      60,
      [
        -0.9217709932130886, 0.32318267696821945, 2.7068411829011167, 0, 0.7406400165201679, 1.8896721530179053, 2, 3,
        1, 4, 0, 5, 5, 0.8445536328800125,
      ],
    ],
    [
      2 ** 31,
      [
        0.3184761273282464, 0.7754982870984906, 2.827123253792622, 4, -3.78951261620405, 0.9075305576525806, 1, 0, 4, 3,
        2, 5, 2, -1.901498922679727,
      ],
    ],
    [
      2 ** 31 + 11,
      [
        -1.1591266169132823, 0.06350626255254421, 3.85410709981753, 2, -0.9589735342751383, 0.9623692368338975, 5, 0, 3,
        2, 1, 4, -3, 0.7670521349336356,
      ],
    ],
    [
      2 ** 32 - 1,
      [
        0.6484086742306527, 0.01793967398674523, 3.334661765316908, 3, -3.1610874454948985, 6.002564922733411, 2, 0, 3,
        4, 1, 5, 1, 0.2845010447986309,
      ],
    ],
  ];
  it.each(mixed)("with seed %d, normal, rand, randint, exponential and permutation in turn", (seed, drawn) => {
    const random = new RandomState(seed);
    expect([
      random.normal(),
      random.rand(),
      random.normal(3, 0.5),
      random.randint(0, 7),
      random.normal(-1, 2),
      random.exponential(2.5),
      ...random.permutation(6),
      random.randint(-3, 13),
      random.normal(),
    ]).toEqual(drawn);
  });

  it("randint, with spans that are powers of two and not, below and above 2^32, and of one value", () => {
    const random = new RandomState(7);
    expect([...random.randint(0, 2, 8)]).toEqual([1, 0, 1, 0, 1, 1, 1, 1]);
    expect([...random.randint(10, 1010, 5)]).toEqual([358, 195, 408, 545, 594]);
    expect([...random.randint(0, 2 ** 32, 3)]).toEqual([372560217, 309457262, 1801189930]);
    expect([...random.randint(5, 6, 2)]).toEqual([5, 5]);
    expect([...random.randint(0, 2 ** 32 + 1, 3)]).toEqual([68334472, 3731473840, 1687674368]);
    expect([...random.randint(-(2 ** 40), 2 ** 40, 3)]).toEqual([-774492853449, -22882223098, 84585221564]);
    expect([...random.randint(0, 3 * 2 ** 50, 3)]).toEqual([118937720303295, 990214427816119, 3289467568681250]);
    expect([...random.randint(0, 1024, 4)]).toEqual([312, 201, 462, 550]);
    expect(random.randint(0, 2 ** 53 - 1)).toBe(8060540950182382);
  });

  it("exponential and normal", () => {
    expect([...new RandomState(42).exponential(1, 4)]).toEqual([
      0.4692680899768591, 3.010121430917521, 1.3167456935454493, 0.9129425537759532,
    ]);
    expect([...new RandomState(42).normal(0, 1, 7)]).toEqual([
      0.4967141530112327, -0.13826430117118466, 0.6476885381006925, 1.5230298564080254, -0.23415337472333597,
      -0.23413695694918055, 1.5792128155073915,
    ]);
  });

  it("permutation", () => {
    expect([...new RandomState(42).permutation(12)]).toEqual([10, 9, 0, 8, 5, 2, 1, 11, 4, 7, 3, 6]);
    expect([...new RandomState(42).permutation(1)]).toEqual([0]);
    expect([...new RandomState(42).permutation(0)]).toEqual([]);
  });

  it("arrays as seeds, shorter and longer than the state", () => {
    const short = new RandomState([1, 2, 3]);
    expect([...short.rand(2), short.normal()]).toEqual([0.6098612722867289, 0.8866970434146851, 0.9517262521759671]);
    const long = new RandomState(Array.from({ length: 700 }, (_, i) => 1000 + i));
    expect([long.rand(), long.randint(0, 2 ** 32)]).toEqual([0.2335624461134853, 703953286]);
    expect([new RandomState([5]).rand(), new RandomState(5).rand()]).toEqual([0.6229016948897019, 0.22199317108973948]);
  });

  it("seed() forgets the normal number that was kept", () => {
    const random = new RandomState(3);
    random.normal();
    random.seed(3);
    expect([random.normal(), random.normal(), ...random.normal(0, 1, 3)]).toEqual([
      1.7886284734303186, 0.43650985051198943, 0.09649746807200862, -1.8634927033644908, -0.27738820251439905,
    ]);
  });

  it("a hundred thousand words and normal numbers on", () => {
    const words = new RandomState(9).randint(0, 2 ** 32, 100_000);
    expect([words.reduce((all, word) => (all ^ word) >>> 0, 0), words.at(-1)]).toEqual([2474649163, 4244992133]);
    const random = new RandomState(10);
    const normals = random.normal(0, 1, 99_999);
    expect([normals.at(-1), random.rand(), random.normal()]).toEqual([
      -0.7326862269315295, 0.93892543344884, 0.40405723921112435,
    ]);
    // The logarithm's last bit may differ in a few of them, so the sum is not NumPy's to the bit.
    expect(normals.reduce((all, value) => all + value, 0)).toBeCloseTo(-298.24555130259574, 9);
  });
});

describe("RandomState", () => {
  it("gives arrays that are what as many single calls give", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 9 }), (seed, count) => {
        const [one, many] = [new RandomState(seed), new RandomState(seed)];
        const singly = (draw: () => number) => Array.from({ length: count }, draw);
        expect([...many.normal(2, 3, count)]).toEqual(singly(() => one.normal(2, 3)));
        expect([...many.rand(count)]).toEqual(singly(() => one.rand()));
        expect([...many.normal(0, 1, count)]).toEqual(singly(() => one.normal()));
        expect([...many.exponential(2, count)]).toEqual(singly(() => one.exponential(2)));
        expect([...many.randint(-9, 10 ** 12, count)]).toEqual(singly(() => one.randint(-9, 10 ** 12)));
      }),
    );
  });

  it("skips normal numbers as if they had been drawn, in pieces of any size", () => {
    const draws = fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.boolean()), { maxLength: 12 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), draws, (seed, pieces) => {
        const [drawing, skipping] = [new RandomState(seed), new RandomState(seed)];
        for (const [count, skip] of pieces) {
          const drawn = [...drawing.normal(0, 1, count)];
          if (skip) skipping.skipNormals(count);
          else expect([...skipping.normal(0, 1, count)]).toEqual(drawn);
        }
        expect([skipping.normal(), skipping.rand()]).toEqual([drawing.normal(), drawing.rand()]);
      }),
    );
  });

  it("permutes: every index is there once", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 300 }), (seed, count) => {
        const order = new RandomState(seed).permutation(count);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
      }),
    );
  });

  it.each([
    ["a negative seed", () => new RandomState(-1), /whole numbers in 0\.\.4294967295, not -1/],
    ["a seed of 2^32", () => new RandomState(2 ** 32), /not 4294967296/],
    ["a seed that is not whole", () => new RandomState([1, 0.5]), /not 0\.5/],
    ["an empty seed", () => new RandomState([]), /at least one word/],
    ["a negative deviation", () => new RandomState(0).normal(0, -1), /must not be negative, but is -1/],
    ["a mean that is NaN", () => new RandomState(0).exponential(NaN), /must not be negative, but is NaN/],
    ["an empty span", () => new RandomState(0).randint(4, 4), /low < high.*not 4 and 4/],
    ["a count that is not whole", () => new RandomState(0).rand(1.5), /whole number in 0\.\.4294967295, not 1\.5/],
    ["a negative count", () => new RandomState(0).permutation(-1), /whole number in 0\.\.4294967295, not -1/],
    ["a count to skip that is not whole", () => new RandomState(0).skipNormals(0.5), /whole number, not 0\.5/],
    ["a span of 2^53", () => new RandomState(0).randint(-1, 2 ** 53 - 1), /less than 2\^53 apart/],
  ])("refuses %s", (_, draw, message) => {
    expect(draw).toThrow(WidefieldError);
    expect(draw).toThrow(message);
  });
});
