/** Which slots, places and steps architectures with branches get. What the steps compute is tested on the backends. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomCase } from "../../test/reference/random-arch.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { referenceKernel } from "../../test/reference/arch.ts";
import { compile, conv, erf, flatten, identity, mixture, relu, resnetBlock, serial, sum } from "../arch/arch.ts";
import { archFromJson } from "../arch/json.ts";
import { preset, presetEntry, presetNames } from "../arch/presets.ts";
import { referenceCovariance } from "../engine/conformance/reference.ts";
import { lineRoutes, NO_PLACE } from "./encode.ts";
import type { Program } from "./program.ts";

const conv3 = conv({ filter: 3 });
const shape = [1, 8, 6] as const;

/** "conv 0>1+": kind, slots, accumulation. */
function outline({ steps }: Program): string[] {
  return steps.map((step) => {
    const from = step.kind === "input" ? "" : String(step.from);
    return `${step.kind} ${from}>${step.to}${"accumulate" in step && step.accumulate ? "+" : ""}`;
  });
}

describe("slots", () => {
  it("a chain of layers needs one", () => {
    const program = compile(serial(conv3, relu(), conv3, erf(), flatten()), shape);
    expect(outline(program)).toEqual(["input >0", "conv 0>0", "rectifier 0>0", "conv 0>0", "erf 0>0", "mean 0>0"]);
    expect(program.slots).toBe(1);
  });

  it("a residual block needs two, and no step for its sum", () => {
    const program = compile(serial(conv3, resnetBlock(), flatten()), shape);
    expect(outline(program).slice(2)).toEqual(["rectifier 0>1", "conv 1>1", "rectifier 1>1", "conv 1>0+", "mean 0>0"]);
  });

  it("a projection without windows costs no step", () => {
    const program = compile(serial(conv3, resnetBlock({ projection: true }), flatten()), shape);
    expect(outline(program).slice(2)).toEqual(["rectifier 0>0", "conv 0>1", "rectifier 1>1", "conv 1>0+", "mean 0>0"]);
  });

  it("a base that is read after the first term was added is copied", () => {
    const program = compile(
      serial(conv3, sum(serial(conv3, relu()), identity(), serial(relu(), conv3)), flatten()),
      shape,
    );
    expect(outline(program).slice(2)).toEqual([
      "conv 0>1",
      "affine 0>2",
      "rectifier 1>2+",
      "rectifier 0>0",
      "conv 0>2+",
      "mean 2>2",
    ]);
  });

  it("what a map is added to itself for is a factor, not a step", () => {
    const program = compile(serial(conv3, sum(identity(), identity(), identity()), flatten()), shape);
    expect(outline(program)).toEqual(["input >0", "conv 0>0", "mean 0>0"]);
    expect(program.steps.at(-1)).toMatchObject({ weight: 3 / 9 });
  });

  it("a mixture with one branch is that branch", () => {
    expect(compile(serial(mixture([1], conv3), flatten()), shape)).toEqual(compile(serial(conv3, flatten()), shape));
  });

  it("of the presets: one for chains, two for residual networks", () => {
    const slots = presetNames.map((name) => [name, compile(preset(name), presetEntry(name).input).slots]);
    const chains = presetNames.filter((name) => /^(myrtle|cntk)/.test(name)).map((name) => [name, 1]);
    expect(Object.fromEntries(slots)).toEqual({
      ...Object.fromEntries(chains),
      "convnet-gp": 1,
      "residual-cnn-gp": 2,
      "resnet32-gp": 2,
      "cifar-resnet32-gp": 2,
      "lenet-like": 1,
    });
  });
});

describe("random architectures", () => {
  it("mean as programs what they mean as JSON", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = mulberry32(seed);
        const { arch, shape } = randomCase(random);
        const program = compile(archFromJson(arch), shape);
        const [x, y] = [0, 1].map(() => Float64Array.from({ length: program.imageFloats }, random));
        if (x === undefined || y === undefined) throw new Error("two images");
        const value = referenceCovariance(program, x, y) * 2 ** program.exponent;
        const expected = referenceKernel(arch, shape, [x], [y])[0] ?? Number.NaN;
        expect(Math.abs(value - expected)).toBeLessThanOrEqual(1e-12 * expected);
      }),
      { numRuns: 300 },
    );
  });

  it("read no slot that nobody wrote, and no place that nobody kept", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const { arch, shape } = randomCase(mulberry32(seed));
        const program = compile(archFromJson(arch), shape);
        const { routes, places } = lineRoutes(program);
        expect(places).toBeLessThanOrEqual(program.slots);
        const written = new Set<number>();
        const kept = new Map<number, number>(); // place -> the slot whose newest map it holds
        let held = -1;
        program.steps.forEach((step, index) => {
          const route = routes[index];
          if (route === undefined) throw new Error("a step has a route");
          if (step.kind !== "input") {
            expect(written.has(step.from)).toBe(true);
            expect(route.load === NO_PLACE ? held : kept.get(route.load)).toBe(step.from);
          }
          if ("accumulate" in step && step.accumulate) expect(kept.get(route.addend)).toBe(step.to);
          else expect(route.addend).toBe(NO_PLACE);
          for (const [place, slot] of kept) if (slot === step.to) kept.delete(place);
          if (route.keep !== NO_PLACE) kept.set(route.keep, step.to);
          written.add(step.to);
          held = step.to;
        });
      }),
      { numRuns: 300 },
    );
  });
});
