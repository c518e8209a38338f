import { describe, expect, it } from "vitest";
import { RandomStream } from "../engine/rng.ts";
import { andersonDarling, andersonDarlingTail, kolmogorovSmirnov, kolmogorovTail } from "./goodness-of-fit.ts";

const sample = [-2.31, 0.4, 1.75, -0.02, 3.3, -1.1, 0.77, -0.64, 2.05, 0.18, -1.9, 0.95, 1.21];

describe("Kolmogorov and Smirnov's statistic", () => {
  it("is SciPy's", () => {
    const { statistic, pValue } = kolmogorovSmirnov(sample, 2.25);
    expect(statistic).toBeCloseTo(0.18698861950496393, 14);
    expect(Math.abs(pValue - 0.6873526049782646)).toBeLessThan(0.002); // n = 13
  });

  // d sqrt(n), and the exact probability for n = 100, 1000, 10000 (scipy.stats.kstwo).
  it.each([
    [0.5, 0.9532159710635725, 0.9605616144751687, 0.9628778025204304],
    [0.8, 0.5182193645480672, 0.5356909657557909, 0.5414432241521093],
    [1, 0.2526927570063874, 0.2644092421903177, 0.2682191277029192],
    [1.36, 0.044860299790847456, 0.0480530330137775, 0.04903580807632146],
    [2, 0.0005551927327988775, 0.0006397648803336532, 0.0006616848639387309],
  ])("has the exact probability at %d / sqrt(n), to its stated error", (z, ...exact) => {
    exact.forEach((probability, index) => {
      const n = 100 * 10 ** index;
      const error = Math.abs(kolmogorovTail(z / Math.sqrt(n), n) - probability);
      expect(error).toBeLessThan([3e-4, 3e-5, 3e-6][index] ?? 0);
    });
  });

  it("has probability 1 where there is no distance, and 0 where there is all", () => {
    expect(kolmogorovTail(0, 50)).toBe(1);
    expect(kolmogorovTail(0.002, 50)).toBe(1);
    expect(kolmogorovTail(1, 10_000)).toBe(0);
  });
});

describe("Anderson and Darling's statistic", () => {
  it("is the sum over SciPy's logarithms, outliers included", () => {
    expect(andersonDarling(sample, 2.25).statistic).toBeCloseTo(0.4984855089172058, 13);
    // At 60 and -45 standard deviations Phi and 1 - Phi are 0 in float64, their logarithms are not.
    expect(andersonDarling([...sample, 60 * 1.5, -45 * 1.5], 2.25).statistic).toBeCloseTo(188.412623008829, 10);
  });

  // Anderson and Darling's own series (1954) in 30 digits (mpmath): another formula than the one tested.
  it.each([
    [0.1, 0.99997192189487364],
    [0.2, 0.99041254724979411],
    [0.5, 0.74681437353034448],
    [1, 0.35726667321401909],
    [1.933, 0.099994623208223499],
    [2.492367, 0.050000009669014928],
    [3.878, 0.010001409884500457],
    [6, 0.00096745194152092292],
    [10, 1.3815035410685864e-5],
    [15, 7.6332231802342023e-8],
  ])("is at least %d with its probability, far into the tail", (x, probability) => {
    expect(Math.abs(andersonDarlingTail(x) - probability)).toBeLessThan(1e-14 + 2e-14 * probability);
    expect(Math.abs(andersonDarlingTail(x) / probability - 1)).toBeLessThan(1e-8);
  });

  it("has probability 1 at 0, and never grows", () => {
    expect(andersonDarlingTail(0)).toBe(1);
    let before = 1;
    for (let x = 0; x < 60; x += 0.013) {
      const tail = andersonDarlingTail(x);
      expect(tail).toBeLessThanOrEqual(before + 1e-14);
      expect(tail).toBeGreaterThanOrEqual(0);
      before = tail;
    }
  });
});

describe("both", () => {
  it("have uniform p-values on normal samples: each of ten bins gets its share", () => {
    // 2000 samples of 50. A bin's count is binomial, standard deviation sqrt(2000 x 0.1 x 0.9) = 13.4: five of them.
    const bins = { ks: new Array<number>(10).fill(0), ad: new Array<number>(10).fill(0) };
    const random = new RandomStream(7, "goodness of fit");
    const values = new Float64Array(50);
    for (let turn = 0; turn < 2000; turn++) {
      for (let i = 0; i < values.length; i++) values[i] = 1.7 * random.normal();
      for (const [name, test] of [
        ["ks", kolmogorovSmirnov],
        ["ad", andersonDarling],
      ] as const) {
        const bin = Math.min(9, Math.floor(10 * test(values, 1.7 ** 2).pValue));
        bins[name][bin] = (bins[name][bin] ?? 0) + 1;
      }
    }
    for (const count of [...bins.ks, ...bins.ad]) expect(Math.abs(count - 200)).toBeLessThan(67);
  });

  it("do not depend on the sample's order, nor change it", () => {
    const given = Float32Array.from(sample);
    for (const test of [kolmogorovSmirnov, andersonDarling])
      expect(test(given.toReversed(), 2)).toEqual(test(given, 2));
    expect(given).toEqual(Float32Array.from(sample));
  });

  it("refuse empty samples, values that are no numbers, and variances that are not positive", () => {
    for (const test of [kolmogorovSmirnov, andersonDarling]) {
      const code = expect.objectContaining({ code: "E_DATA" }) as Error;
      expect(() => test([], 1)).toThrow(code);
      expect(() => test([1, NaN], 1)).toThrow(code);
      for (const variance of [0, -1, NaN, Infinity]) expect(() => test(sample, variance)).toThrow(code);
    }
  });
});
