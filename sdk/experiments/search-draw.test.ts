import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { archToJson, compile } from "../arch/arch.ts";
import { preset } from "../arch/presets.ts";
import { WidefieldError } from "../errors.ts";
import { misfitOf } from "./search.ts";
import { drawnArch, drawArchitecture, parseSeeds, perLayer, type DrawnConv } from "./search-draw.ts";

const MNIST = { channels: 1, height: 28, width: 28 };
const seeds = Array.from({ length: 60 }, (_, i) => i + 1);
const convs = (layers: number, conv: DrawnConv) => Array.from({ length: layers }, () => conv);
const same = (filter: number): DrawnConv => ({ filter, stride: 1, padding: "same-tf" });

describe("the architecture of a seed", () => {
  /** Drawn by NumPy 2.4, with the script's expressions. */
  it.each([
    [1, 3.836176037620592, 5.962595947537265, convs(2, same(4)), "erf", 1],
    [31, 2.788430573284125, 7.864844532152, convs(7, same(7)), "relu", 1],
    [36, 6.328057532765805, 5.0129136989617065, convs(15, same(3)), "erf", 2],
    [41, 2.507388989959521, 0.568766565380894, convs(12, same(3)), "erf", 2],
    [53, 7.273299257681071, 4.689324322120274, convs(9, same(4)), "relu", 1],
    [56, 8.373534804340615, 2.867298128117227, convs(12, { filter: 3, stride: 2, padding: "valid" }), "erf", null],
    [58, 3.4208446641815513, 3.8096473271467035, convs(9, { filter: 3, stride: 2, padding: "same-tf" }), "erf", null],
    [60, 2.90698664037295, 1.695566530735024, convs(7, { filter: 5, stride: 2, padding: "same-tf" }), "erf", null],
  ] as const)(
    "%d is what the script draws with NumPy",
    (seed, weightVariance, biasVariance, layers, nonlinearity, skipEvery) => {
      const drawn = { seed, weightVariance, biasVariance, convs: layers, nonlinearity, skipEvery };
      expect(drawArchitecture(seed)).toEqual(drawn);
    },
  );

  it("has skip connections in every seed below 56 by the script, from 36 on by the paper", () => {
    const without = (rule: "script" | "paper") =>
      seeds.filter((seed) => drawArchitecture(seed, rule).skipEvery === null);
    expect(without("script")).toEqual([56, 58, 60]);
    expect(without("paper")).toEqual([...seeds.slice(0, 35), 56, 58, 60]);
    for (const seed of seeds.slice(35)) expect(drawArchitecture(seed, "paper")).toEqual(drawArchitecture(seed));
  });

  it("by the paper's rule, 27 of the seeds without skips fit MNIST's images, as the paper reports", () => {
    const fits = seeds.slice(0, 35).filter((seed) => misfitOf(drawArchitecture(seed, "paper"), MNIST) === undefined);
    expect(fits).toHaveLength(27);
  });

  it("31 is the paper's ConvNet GP, and 53 its residual CNN GP, up to rounding", () => {
    const hyper = (seed: number) => {
      const { weightVariance, biasVariance, convs, nonlinearity, skipEvery } = drawArchitecture(seed, "paper");
      return [weightVariance.toFixed(2), biasVariance.toFixed(2), convs.length, convs[0], nonlinearity, skipEvery];
    };
    expect(hyper(31)).toEqual(["2.79", "7.86", 7, same(7), "relu", null]);
    expect(hyper(53)).toEqual(["7.27", "4.69", 9, same(4), "relu", 1]);
  });

  it("1234 is the preset lenet-like", () => {
    expect(archToJson(drawnArch(drawArchitecture(1234)))).toEqual(archToJson(preset("lenet-like")));
  });

  it("names the layer whose valid padding eats the image", () => {
    expect(misfitOf(drawArchitecture(56), MNIST)).toMatch(
      /^architecture\.layers\[6\] \(conv 3x3 stride 2x2 valid\): a filter that is 3 pixels high does not fit/,
    );
    const misfits = seeds.filter((seed) => misfitOf(drawArchitecture(seed), MNIST) !== undefined);
    expect(misfits).toEqual([56]);
  });

  it("is an architecture for any seed, with its convolutions and nonlinearities", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom("script", "paper"), (seed, rule) => {
        const drawn = drawArchitecture(seed, rule);
        const large = [2, 1e9, 1e9] as const;
        expect(drawnArch(drawn).shape(large)).toEqual([Infinity]);
        const json = JSON.stringify(archToJson(drawnArch(drawn)));
        expect(json.split('"type":"conv"').length - 1).toBe(drawn.convs.length);
        expect(json.split(`"type":"${drawn.nonlinearity}"`).length - 1).toBe(drawn.convs.length);
      }),
    );
  });
});

describe("skip connections", () => {
  const layers = (count: number, skipEvery: number | null) => {
    const drawn = { ...drawArchitecture(58), convs: convs(count, same(3)), skipEvery };
    return (archToJson(drawnArch(drawn))["layers"] as { type: string; layers?: { layers?: unknown[] }[] }[]).map(
      ({ type, layers }) => (type === "sum" ? `sum of ${layers?.[1]?.layers?.length ?? 0}` : type),
    );
  };
  const tail = ["flatten", "dense"];

  it("add what comes before every skipEvery-th convolution, but not behind the last one", () => {
    expect(layers(3, 1)).toEqual(["sum of 2", "sum of 2", "conv", "erf", ...tail]);
    expect(layers(4, 2)).toEqual(["sum of 4", "conv", "erf", "conv", "erf", ...tail]);
    expect(layers(5, 2)).toEqual(["sum of 4", "sum of 4", "conv", "erf", ...tail]);
    expect(layers(2, 2)).toEqual(["conv", "erf", "conv", "erf", ...tail]);
    expect(layers(2, null)).toEqual(["conv", "erf", "conv", "erf", ...tail]);
  });

  it("are programs for MNIST in every drawn network that fits", () => {
    for (const seed of [...seeds, 1234]) {
      const drawn = drawArchitecture(seed);
      if (misfitOf(drawn, MNIST) === undefined) expect(compile(drawnArch(drawn), [1, 28, 28])).toBeDefined();
    }
  });
});

describe("a list of seeds", () => {
  it("holds seeds and half-open ranges, in its order", () => {
    expect(parseSeeds("3:6, 1234 ,1")).toEqual([3, 4, 5, 1234, 1]);
    expect(parseSeeds("1:61,1234")).toHaveLength(61);
    expect(parseSeeds("4294967295")).toEqual([2 ** 32 - 1]);
  });

  it.each([
    ["", /"" is neither a seed nor a range start:end/],
    ["1;2", /"1;2" is neither/],
    ["-1", /"-1" is neither/],
    ["5:5", /5:5 is empty/],
    ["9:5", /9:5 is empty/],
    ["1:4,3", /3 is there twice/],
    ["4294967296", /beyond 4294967295/],
    ["0:100001", /more than 100000 seeds/],
  ])("is refused as %j", (text, message) => {
    expect(() => parseSeeds(text)).toThrow(WidefieldError);
    expect(() => parseSeeds(text)).toThrow(message);
  });
});

describe("perLayer", () => {
  it("is one value where all are equal", () => {
    expect([perLayer([4, 4, 4]), perLayer([5, 2, 5, 2]), perLayer(["valid"])]).toEqual(["4", "5 2 5 2", "valid"]);
  });
});
