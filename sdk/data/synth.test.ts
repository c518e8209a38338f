import { describe, expect, it } from "vitest";
import { RandomStream } from "../engine/rng.ts";
import { freshSeed } from "../../test/seed.ts";
import { synth, synthBeta, SYNTH_TRAIN_COUNT, synthTerms, termRootMeanSquares } from "./synth.ts";
import { worstDifference } from "./transforms/testing.ts";

const random = new RandomStream(freshSeed(), "synth.test");
const norm = (values: Float64Array) => Math.hypot(...values);

describe("the synthetic problem", () => {
  it.each([0, 0.1, 0.55, 0.9])(
    "has its first 16 and its other features on spheres of their radii: kappa %d",
    async (kappa) => {
      const ranges = "5:8,1048575:1048578";
      const { dataset } = await synth({ kappa, ranges, seed: random.below(2 ** 31) });
      const { images } = dataset.selectFloat64(ranges);
      for (let row = 0; row < 6; row++) {
        const x = images.subarray(row * 1024, (row + 1) * 1024);
        expect(norm(x.subarray(0, 16)) / 1024 ** ((0.4 + kappa) / 2)).toBeCloseTo(1, 12);
        expect(norm(x.subarray(16))).toBeCloseTo(32, 11);
      }
      expect(dataset).toMatchObject({ trainCount: 1_048_576, testCount: 10_000, imageFloats: 1024 });
    },
  );

  it("has the published rows and labels with NumPy's generator", async () => {
    const ranges = "0:3,1048576:1048578";
    const problem = await synth({ kappa: 0.3, rng: "numpy", ranges });
    const { images } = problem.dataset.selectFloat64("0:1,2:3,1048577:1048578");
    const found = [0, 1, 2].flatMap((row) => [0, 15, 16, 1023].map((at) => images[row * 1024 + at] ?? NaN));
    // NumPy 2.4.
    const numpy = [
      ...[-1.924117760536945, -0.3588076783197547, 0.20226275674631553, 0.6170264826690414],
      ...[2.048208009954337, -3.421212268901055, -0.7256280148005144, -0.6612641535142109],
      ...[2.3496030918416375, 3.908119826755154, 3.12486592733819, -0.10999513299322183],
    ];
    expect(worstDifference(found, numpy)).toBeLessThan(1e-14);
    const labels = [-3.2671918715588215, 0.7150783333338895, 1.2991076291922843, 0.870419721934103, 0.8933492042547446];
    expect(worstDifference(problem.targets(ranges), labels)).toBeLessThan(1e-13);
  });

  it("divides its terms by what the published rows give, and expectations say much the same", () => {
    // NumPy 2.4, over the first 4,096 rows.
    const numpy = [0.2810101090903115, 0.0596466315008254, 0.016560073496544887];
    expect(worstDifference(termRootMeanSquares(4096), numpy)).toBeLessThan(1e-14);
    let moment = 1 / 16;
    const expected = synthBeta().map((beta, k) => {
      moment /= 18 + 2 * k;
      return Math.sqrt(moment * beta.reduce((sum, value) => sum + value ** 2, 0));
    });
    const published = [0.2833174272849749, 0.059353996845301016, 0.01672263401341049];
    expected.forEach((value, k) => {
      expect(Math.abs(value / (published[k] ?? NaN) - 1)).toBeLessThan(2e-3);
    });
  });

  it("has labels of mean square about 3 that do not depend on kappa, whatever generator made the rows", async () => {
    const ranges = "0:3000";
    for (const rng of ["counter", "numpy"] as const) {
      const seed = random.below(2 ** 31);
      const problem = await synth({ rng, seed, ranges });
      const labels = problem.targets(ranges);
      const square = labels.reduce((sum, value) => sum + value ** 2 / 3000, 0);
      // The terms are uncorrelated and heavy-tailed: over 3,000 rows the mean square is off by about 0.2, rms.
      expect(Math.abs(square - 3)).toBeLessThan(1.2);
      const other = await synth({ rng, seed, ranges: "10:20", kappa: 0.8 });
      expect(worstDifference(other.targets("10:20"), problem.targets("10:20"))).toBeLessThan(1e-12);
    }
  });

  it("has polynomial terms of degree two, three and four in neighbours", () => {
    const x = random.fillNormal(new Float64Array(16));
    const twice = synthTerms(x.map((value) => 2 * value));
    synthTerms(x).forEach((term, k) => {
      expect((twice[k] ?? NaN) / term).toBeCloseTo(2 ** (k + 2), 12);
    });
    const neighbours = new Float64Array(16).fill(1, 4, 7);
    const [beta2, beta3] = synthBeta();
    const [f2, f3, f4] = synthTerms(neighbours);
    expect(f2).toBeCloseTo((beta2?.[4] ?? NaN) + (beta2?.[5] ?? NaN), 14);
    expect(f3).toBe(beta3?.[4]);
    expect(f4).toBe(0);
  });

  it.each(["counter", "numpy"] as const)("is the same whatever rows are asked for (%s)", async (rng) => {
    const many = await synth({ rng, ranges: "0:40,1048576:1048580" });
    const few = await synth({ rng, ranges: "1048577:1048579,7:9" });
    expect(few.dataset.selectFloat64("7:9,1048577:1048579").images).toEqual(
      many.dataset.selectFloat64("7:9,1048577:1048579").images,
    );
    expect(few.targets("1048578:1048579,8:9")).toEqual(many.targets("1048578:1048579,8:9"));
    expect(await few.dataset.sha256()).toBe(await many.dataset.sha256());
    expect(() => few.targets("6:8")).toThrow(/image 6 was not made/);
    expect(() => few.targets("0:1058577")).toThrow(/out of bounds/);
  });

  it("has another digest for another kappa, generator or seed", async () => {
    const ranges = [{ start: SYNTH_TRAIN_COUNT, end: SYNTH_TRAIN_COUNT + 1 }];
    const options = [{}, { kappa: 0.1 }, { rng: "numpy" }, { seed: 1 }] as const;
    const digests = await Promise.all(
      options.map(async (option) => (await synth({ ...option, ranges })).dataset.sha256()),
    );
    expect(new Set(digests).size).toBe(4);
  });

  it("refuses kappas that the paper does not have room for, and more rows than memory", async () => {
    for (const kappa of [-0.1, 1, NaN])
      await expect(synth({ kappa, ranges: "0:1" })).rejects.toThrow(/0, 0\.1, \.\., 0\.9/);
    await expect(synth({ memoryBytes: 2 ** 30 })).rejects.toMatchObject({ code: "E_MEMORY" });
  });
});
