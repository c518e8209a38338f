import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { positions } from "../../test/reference/arch.ts";
import { WidefieldError } from "../errors.ts";
import {
  archToJson,
  avgPool,
  compile,
  conv,
  dense,
  flatten,
  globalAvgPool,
  identity,
  mixture,
  relu,
  repeat,
  type Arch,
} from "./arch.ts";
import { resnet, serial, sum } from "./arch.ts";
import { archFromJson } from "./json.ts";
import { formatShape, type Layer, type LayerJson, type Shape } from "./layer.ts";
import { preset, presetNames, trainablePresetNames } from "./presets.ts";

/** What was thrown, which has to be a WidefieldError. */
function refusal(work: () => unknown): WidefieldError {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

const size = fc.integer({ min: 1, max: 9 });
const pair = fc.oneof(size, fc.tuple(size, size));
const variance = fc.oneof(fc.constant(0), fc.double({ min: 1e-100, max: 1e12, noNaN: true }));
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

/** Options as a user writes them, some left out; keys whose value is undefined are left out as well. */
function written(record: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<LayerJson> {
  return fc
    .record(record)
    .map((layer) => Object.fromEntries(Object.entries(layer).filter(([, value]) => value !== undefined)) as LayerJson);
}

const padding = fc.oneof(fc.constantFrom("same" as const, "same-tf" as const, "valid" as const), fc.nat(9));
const layerJson: fc.Arbitrary<LayerJson> = fc.oneof(
  written({
    type: fc.constant("conv"),
    filter: pair,
    stride: optional(pair),
    dilation: optional(pair),
    padding: optional(padding),
    weightVariance: optional(variance),
    biasVariance: optional(variance),
    channels: optional(size),
  }),
  written({ type: fc.constant("relu"), sqrt2: optional(fc.boolean()) }),
  written({
    type: fc.constant("dense"),
    weightVariance: optional(variance),
    biasVariance: optional(variance),
    units: optional(size),
  }),
  written({ type: fc.constant("avgPool"), window: pair, stride: optional(pair) }),
  written({ type: fc.constant("step"), sqrt2: optional(fc.boolean()) }),
  written({ type: fc.constant("leakyRelu"), slope: optional(fc.double({ min: -2, max: 2, noNaN: true })) }),
  fc.constantFrom("flatten", "identity", "abs", "erf", "globalAvgPool").map((type) => ({ type })),
  written({ type: fc.constant("resnetBlock"), projection: fc.boolean(), channels: optional(size) }),
);
const { arch: archJson } = fc.letrec<{ arch: LayerJson }>((tie) => ({
  arch: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    layerJson,
    fc.record({
      type: fc.constantFrom("serial", "sum"),
      layers: fc.array(tie("arch"), { minLength: 1, maxLength: 5 }),
    }),
    fc.record({ type: fc.constant("repeat"), times: fc.integer({ min: 1, max: 3 }), layer: tie("arch") }),
    fc
      .array(tie("arch"), { minLength: 1, maxLength: 4 })
      .map((layers) => ({ type: "mixture", proportions: layers.map(() => 1 / layers.length), layers })),
  ),
}));

describe("JSON", () => {
  it("of any architecture makes the same architecture, as an object and as text", () => {
    fc.assert(
      fc.property(archJson, (json) => {
        const full = archToJson(archFromJson(json));
        expect(archToJson(archFromJson(full))).toEqual(full);
        expect(archToJson(archFromJson(JSON.stringify(json)))).toEqual(full);
        expect(JSON.parse(JSON.stringify(archFromJson(json)))).toEqual(JSON.parse(JSON.stringify(full)));
      }),
    );
  });

  it("of equal architectures is equal text, however they were written", () => {
    const short = serial(conv({ filter: 3 }), relu(), flatten(), dense());
    const long = archFromJson({
      layers: [
        {
          biasVariance: 0,
          weightVariance: 1,
          padding: "same",
          dilation: 1,
          stride: [1, 1],
          filter: [3, 3],
          type: "conv",
        },
        { sqrt2: false, type: "relu" },
        { type: "flatten" },
        { biasVariance: 0, type: "dense", weightVariance: 1 },
      ],
      type: "serial",
    });
    expect(JSON.stringify(archToJson(long))).toBe(JSON.stringify(archToJson(short)));
  });

  it("keeps widths, which only finite networks use", () => {
    const arch = serial(conv({ filter: 3, channels: 12 }), flatten(), dense({ units: 10 }));
    expect(archToJson(arch)).toMatchObject({ layers: [{ channels: 12 }, { type: "flatten" }, { units: 10 }] });
    expect(arch.shape([1, 5, 4])).toEqual([10]);
  });

  it("of every preset goes both ways", () => {
    expect(presetNames).toContain("convnet-gp");
    for (const name of [...presetNames, ...trainablePresetNames])
      expect(archToJson(archFromJson(archToJson(preset(name))))).toEqual(archToJson(preset(name)));
  });
});

/** A relu in so many serials. */
function nested(depth: number): LayerJson {
  let json: LayerJson = { type: "relu" };
  for (let level = 0; level < depth; level++) json = { type: "serial", layers: [json] };
  return json;
}

describe("architectures as large as they may be", () => {
  it("compile: 50,000 repeated relus, and 500 serials inside of one another", () => {
    const long = { type: "repeat", times: 10, layer: { type: "repeat", times: 5000, layer: { type: "relu" } } };
    expect(
      compile(archFromJson({ type: "serial", layers: [long, { type: "flatten" }] }), [1, 2, 2]).steps,
    ).toHaveLength(50_002);
    expect(compile(archFromJson(nested(500)), [1]).steps.length).toBeGreaterThan(1);
    let deep: Layer = relu();
    for (let level = 0; level < 600; level++) deep = serial(deep);
    expect(refusal(() => compile(deep, [1])).message).toMatch(/more than 500 deep/);
  });
});

describe("bad input is refused with the place and what is wrong", () => {
  const conv3 = { type: "conv", filter: 3 };
  const cases: [string, unknown, RegExp][] = [
    ["not JSON", "{ type: conv }", /^the architecture is not JSON: .*JSON/],
    ["an empty file", "", /^the architecture is not JSON/],
    [
      "a number",
      7,
      /^architecture has no type; layers are serial, sum, mixture, repeat, resnet, resnetBlock, conv, dense, flatten,/,
    ],
    ["null", "null", /^architecture has no type/],
    ["a list of layers", [conv3], /^architecture has no type/],
    ["an unknown layer", { type: "maxpool" }, /^architecture is of unknown type "maxpool"; layers are serial, sum/],
    ["a layer named like an object's own", { type: "toString" }, /^architecture is of unknown type "toString"/],
    [
      "an unknown layer further in",
      { type: "serial", layers: [{ type: "relu" }, { type: "serial", layers: [{ type: "gelu" }] }] },
      /^architecture\.layers\[1\]\.layers\[0\] is of unknown type "gelu"/,
    ],
    ["serial without layers", { type: "serial", layers: [] }, /^architecture\.layers: /],
    ["an unknown key", { ...conv3, weight_variance: 2 }, /^architecture: .*"weight_variance"/],
    ["a key of another layer", { type: "relu", filter: 3 }, /^architecture: .*"filter"/],
    [
      "a negative weight variance",
      { ...conv3, weightVariance: -1 },
      /weightVariance: weightVariance is a variance and must not be negative/,
    ],
    [
      "a negative bias variance",
      { type: "dense", biasVariance: -0.1 },
      /biasVariance: biasVariance is a variance and must not be negative/,
    ],
    ["a variance that is text", { type: "dense", weightVariance: "2" }, /weightVariance: weightVariance is a number/],
    ["a variance that is not finite", { type: "dense", weightVariance: Number.POSITIVE_INFINITY }, /weightVariance: /],
    ["a variance that is NaN", { type: "dense", weightVariance: Number.NaN }, /weightVariance: /],
    [
      "a variance that is next to nothing",
      { ...conv3, weightVariance: 1e-310 },
      /weightVariance must be 0 or at least/,
    ],
    ["a variance beyond measure", { ...conv3, biasVariance: 1e200 }, /biasVariance must be at most 1e\+100/],
    ["a stride of 2^33", { ...conv3, stride: 2 ** 33 }, /^architecture\.stride: stride must be at most 65535/],
    ["a dilation of 2^40", { ...conv3, dilation: [1, 2 ** 40] }, /dilation must be at most 65535/],
    ["a filter of 65,536", { type: "conv", filter: 65536 }, /^architecture\.filter: filter must be at most 65535/],
    ["a padding of 65,536", { ...conv3, padding: 65536 }, /^architecture\.padding: padding must be at most 65535/],
    [
      "a million layers in two repeats",
      { type: "repeat", times: 10_000, layer: { type: "repeat", times: 100, layer: { type: "relu" } } },
      /^architecture has more than 100000 layers/,
    ],
    [
      "200,000 layers in a row",
      { type: "serial", layers: Array.from({ length: 200_000 }, () => ({ type: "relu" })) },
      /^architecture has more than 100000 layers/,
    ],
    ["20,000 layers inside of one another", nested(20_000), /^architecture has layers inside of layers more than 500/],
    [
      "no filter",
      { type: "conv" },
      /^architecture\.filter: filter is a positive whole number, or \[vertical, horizontal\]/,
    ],
    ["a filter of zero", { type: "conv", filter: 0 }, /^architecture\.filter: filter/],
    ["a filter of one and a half", { type: "conv", filter: 1.5 }, /^architecture\.filter: filter/],
    ["a filter of three sides", { type: "conv", filter: [3, 3, 3] }, /^architecture\.filter: filter/],
    ["a stride of zero", { ...conv3, stride: 0 }, /^architecture\.stride: stride/],
    [
      "a stride of zero on one axis",
      { ...conv3, stride: [1, 0] },
      /^architecture\.stride\.1: stride must be at least 1/,
    ],
    ["a dilation of zero", { ...conv3, dilation: 0 }, /^architecture\.dilation: dilation/],
    [
      "an unknown padding",
      { ...conv3, padding: "full" },
      /^architecture\.padding: padding is "same", "same-tf", "valid" or a number of pixels/,
    ],
    ["a negative padding", { ...conv3, padding: -1 }, /^architecture\.padding: padding must not be negative/],
    ["channels of zero", { ...conv3, channels: 0 }, /^architecture\.channels: channels must be at least 1/],
    ["half a unit", { type: "dense", units: 0.5 }, /^architecture\.units: units is a whole number/],
    ["sum without layers", { type: "sum", layers: [] }, /^architecture\.layers: /],
    ["repeat zero times", { type: "repeat", times: 0, layer: { type: "relu" } }, /^architecture\.times: times must be/],
    ["repeat without a layer", { type: "repeat", times: 2 }, /^architecture\.layer has no type/],
    [
      "proportions that do not add up",
      { type: "mixture", proportions: [0.5, 0.25], layers: [{ type: "relu" }, { type: "erf" }] },
      /^architecture\.proportions: proportions must add up to 1, but 0\.5 \+ 0\.25 = 0\.75$/,
    ],
    [
      "a proportion that is not positive",
      { type: "mixture", proportions: [1.5, -0.5], layers: [{ type: "relu" }, { type: "erf" }] },
      /^architecture\.proportions\.1: proportions must be positive/,
    ],
    [
      "fewer proportions than layers",
      { type: "mixture", proportions: [1], layers: [{ type: "relu" }, { type: "erf" }] },
      /^architecture\.proportions: there are 1 proportions for 2 layers/,
    ],
    ["a slope that is text", { type: "leakyRelu", slope: "steep" }, /^architecture\.slope: slope is a number/],
    ["a residual network of 30 layers", { type: "resnet", depth: 30 }, /^architecture\.depth: depth must be 6 n \+ 2/],
    [
      "a strided residual block without a projection",
      { type: "resnetBlock", stride: 2 },
      /^architecture\.stride: a block with a stride needs projection: true/,
    ],
    ["a sqrt2 that is text", { type: "relu", sqrt2: "yes" }, /^architecture\.sqrt2: sqrt2 is true or false/],
  ];
  for (const [name, json, message] of cases) {
    it(name, () => {
      const { code, message: text } = refusal(() => archFromJson(json));
      expect(code).toBe("E_CONFIG");
      expect(text).toMatch(message);
    });
  }

  it("the same in constructors, which name their layer", () => {
    expect(refusal(() => conv({ filter: 3, weightVariance: -2 })).message).toMatch(/^conv\.weightVariance: .*negative/);
    expect(refusal(() => dense({ biasVariance: Number.NaN })).message).toMatch(/^dense\.biasVariance: /);
    expect(refusal(() => conv({ filter: [2, 0] })).message).toMatch(/^conv\.filter\.1: filter must be at least 1/);
    expect(refusal(() => mixture([0.5, 0.4], relu(), identity())).message).toMatch(
      /^mixture\.proportions: .*add up to 1/,
    );
    expect(refusal(() => repeat(1.5, relu())).message).toMatch(/^repeat\.times: times is a whole number/);
    expect(refusal(() => repeat(relu() as unknown as number, 3 as unknown as Arch)).message).toMatch(
      /^repeat\.times: /,
    );
    expect(refusal(() => resnet({ depth: 9 })).message).toMatch(/^resnet\.depth: depth must be 6 n \+ 2/);
    expect(refusal(() => serial()).message).toMatch(/^serial\.layers: layers must hold at least one layer/);
    const list = [conv({ filter: 3 }), relu()] as unknown as Arch;
    expect(refusal(() => serial(list)).message).toMatch(/^serial: argument 1 is a list.*serial\(\.\.\.layers\)/);
    expect(refusal(() => sum(relu(), { type: "relu" } as unknown as Arch)).message).toMatch(
      /^sum: argument 2 is no layer/,
    );
    expect(refusal(() => preset("resnet23-gp")).message).toMatch(/did you mean "resnet32-gp"/);
    expect(refusal(() => preset("transformer")).message).not.toMatch(/did you mean/);
    expect(refusal(() => preset("convnet-g")).message).toMatch(
      /no preset "convnet-g"; did you mean "convnet-gp"\? presets are convnet-gp/,
    );
  });
});

describe("shape", () => {
  it("of a convolution is what counting a filter's places gives, on both axes", () => {
    const settings = fc.record({
      filter: fc.tuple(size, size),
      stride: fc.tuple(size, size),
      dilation: fc.tuple(size, size),
      padding,
    });
    fc.assert(
      fc.property(
        settings,
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        (options, height, width) => {
          const layer = conv({ ...options, channels: 7 });
          const geometry = { ...options, weightVariance: 1, biasVariance: 0 };
          const [high, wide] = [positions(height, 0, geometry), positions(width, 1, geometry)];
          if (high.length === 0 || wide.length === 0) {
            const { code, message } = refusal(() => layer.shape([2, height, width], "here"));
            expect(code).toBe("E_SHAPE");
            expect(message).toMatch(
              /^here \(conv .*\): a filter that is \d+ pixels (high|wide) does not fit into its padded input/,
            );
          } else {
            expect(layer.shape([2, height, width], "here")).toEqual([7, high.length, wide.length]);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('keeps the image\'s size under "same", and gives ceil(n / stride) under both kinds of it', () => {
    fc.assert(
      fc.property(pair, size, pair, fc.integer({ min: 1, max: 30 }), (filter, stride, dilation, n) => {
        for (const padding of ["same", "same-tf"] as const) {
          const out = conv({ filter, stride, dilation, padding }).shape([1, n, n + 1], "");
          expect(out.slice(1)).toEqual([Math.ceil(n / stride), Math.ceil((n + 1) / stride)]);
        }
      }),
    );
  });

  const chain: [string, Arch, Shape, RegExp][] = [
    [
      "a filter larger than its padded input",
      serial(conv({ filter: 5 }), relu(), conv({ filter: 9, padding: "valid" })),
      [1, 8, 12],
      /^architecture\.layers\[2\] \(conv 9x9 valid\): a filter that is 9 pixels high does not fit into its padded input, 8 pixels high \(input any x 8 x 12\)$/,
    ],
    [
      "a dilated filter larger than its padded input, sideways",
      serial(conv({ filter: [1, 4], dilation: 3, padding: 1 })),
      [1, 8, 7],
      /^architecture\.layers\[0\] \(conv 1x4 dilation 3x3 1\): a filter that is 10 pixels wide does not fit into its padded input, 9 pixels wide/,
    ],
    [
      "dense on an image",
      serial(serial(conv({ filter: 3 }), relu()), dense()),
      [1, 8, 8],
      /^architecture\.layers\[1\] \(dense\) needs a vector, but its input is an image of any x 8 x 8: put flatten before it$/,
    ],
    [
      "conv on a vector",
      serial(serial(dense(), conv({ filter: 3, stride: 2 }))),
      [20],
      /^architecture\.layers\[0\]\.layers\[1\] \(conv 3x3 stride 2x2 same\) needs an image, but its input is a vector of any features$/,
    ],
    [
      "residual branches whose shapes differ",
      serial(relu(), sum(identity(), serial(relu(), conv({ filter: 3, stride: 2 })))),
      [1, 9, 8],
      /^branches of one sum must have one shape, but architecture\.layers\[1\]\.layers\[0\] \(identity\) gives 1 x 9 x 8, and architecture\.layers\[1\]\.layers\[1\] \(serial of 2 layers\) gives any x 5 x 4$/,
    ],
    [
      "a repeated convolution that eats the image",
      repeat(5, conv({ filter: 3, padding: "valid" })),
      [1, 8, 8],
      /^architecture\.layer \(time 4\) \(conv 3x3 valid\): a filter that is 3 pixels high does not fit.*2 pixels high/,
    ],
    [
      "a pool that is larger than its image",
      serial(conv({ filter: 3, stride: 2 }), avgPool({ window: [3, 5] })),
      [1, 8, 8],
      /^architecture\.layers\[1\] \(avgPool 3x5\): a window of 3 x 5 pixels does not fit into any x 4 x 4$/,
    ],
    [
      "a pool behind flatten",
      serial(flatten(), globalAvgPool()),
      [1, 4, 4],
      /^architecture\.layers\[1\] \(globalAvgPool\) needs an image.*16 features/,
    ],
    [
      "flatten twice",
      serial(flatten(), flatten()),
      [1, 4, 4],
      /^architecture\.layers\[1\] \(flatten\) needs an image.*16 features/,
    ],
  ];
  for (const [name, arch, input, message] of chain) {
    it(`names the layer: ${name}`, () => {
      const asked = [() => arch.shape(input, "architecture"), () => compile(arch, input)];
      for (const ask of asked) {
        const { code, message: text } = refusal(ask);
        expect(code).toBe("E_SHAPE");
        expect(text).toMatch(message);
      }
    });
  }

  it("a map that is left at the end is refused, and the message says what to add", () => {
    const { code, message } = refusal(() => compile(serial(conv({ filter: 3 }), relu()), [1, 6, 7]));
    expect(code).toBe("E_SHAPE");
    expect(message).toMatch(/ends with a map of 6 x 7 pixels.*add flatten/);
    expect(() => compile(serial(conv({ filter: 6, padding: "valid" }), relu()), [1, 6, 6])).not.toThrow();
  });

  it("a filter that reaches beyond what words of 32 bits count is refused", () => {
    const far = conv({ filter: 65535, dilation: 65535 });
    const { code, message } = refusal(() => far.shape([1, 8, 8]));
    expect(code).toBe("E_CONFIG");
    expect(message).toMatch(/65535x65535 dilation 65535x65535 same\): .* pixels high .* reaches too far/);
    expect(conv({ filter: 65535 }).shape([1, 8, 9]).slice(1)).toEqual([8, 9]);
  });

  it("what is no architecture is refused, and so are inputs of two sizes", () => {
    for (const nothing of [{ type: "flatten" }, undefined, null, "convnet-gp"] as unknown as Arch[]) {
      const { code, message } = refusal(() => compile(nothing, [1, 4, 4]));
      expect(code).toBe("E_CONFIG");
      expect(message).toMatch(/no architecture: archFromJson reads JSON/);
    }
    const { code, message } = refusal(() => compile(flatten(), [8, 8] as unknown as Shape));
    expect(code).toBe("E_SHAPE");
    expect(message).toMatch(/\[channels, height, width\] or \[features\], not \[8, 8\]/);
  });

  it("inputs without a size are refused", () => {
    for (const input of [[0], [1, 0, 4], [1, 4, 2.5], [Number.NaN]] as unknown as Shape[])
      expect(refusal(() => compile(flatten(), input)).message).toMatch(/positive whole numbers/);
  });

  it("is what JSON's architecture has too", () => {
    fc.assert(
      fc.property(archJson, fc.tuple(size, size, size), (json, input) => {
        const arch: Layer = archFromJson(json);
        const shapeOf = (layer: Layer) => {
          try {
            return formatShape(layer.shape(input, "architecture"));
          } catch (thrown) {
            if (thrown instanceof WidefieldError) return thrown.message;
            throw thrown;
          }
        };
        expect(shapeOf(archFromJson(archToJson(arch)))).toBe(shapeOf(arch));
      }),
    );
  });
});
