/** Activations by their published names. */
import { describe, expect, it } from "vitest";
import { archToJson } from "../arch/arch.ts";
import { WidefieldError } from "../errors.ts";
import { hasTargets, nonlinearity, nonlinearityNames } from "./nonlinearities.ts";

const softHinge = { rule: "SoftHinge", gradScale: true } as const;
const json = (name: string, targets: { rule: string; gradScale: boolean } = softHinge) =>
  archToJson(nonlinearity(name, targets));

function refusal(name: string, rule = "SoftHinge", gradScale = true): string {
  try {
    nonlinearity(name, { rule, gradScale });
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return `${thrown.code}: ${thrown.message}`;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

describe("nonlinearities by name", () => {
  it("are those of the published program", () => {
    const staircase = {
      type: "staircase",
      steps: 5,
      low: 0,
      high: 1,
      summed: false,
      backward: "SoftHinge",
      gradScale: true,
    };
    const table: Readonly<Record<string, object>> = {
      step01: { type: "threshold", low: 0, high: 1, backward: "SoftHinge", gradScale: true },
      step11: { type: "threshold", low: -1, high: 1, backward: "SoftHinge", gradScale: true },
      staircase,
      staircase3: { ...staircase, steps: 3 },
      staircase7: { ...staircase, steps: 7 },
      staircase_11: { ...staircase, steps: 11 },
      staircase11: { ...staircase, low: -1 },
      staircase11_3: { ...staircase, low: -1, steps: 3 },
      oldstaircase: { ...staircase, summed: true },
      oldstaircase3: { ...staircase, steps: 3, summed: true },
      oldstaircase11_7: { ...staircase, low: -1, steps: 7, summed: true },
      threshrelu: { type: "clippedRelu", max: 1 },
      threshrelu2: { type: "clippedRelu", max: 2 },
      hardtanh: { type: "hardTanh" },
      cabs: { type: "cabs" },
    };
    for (const [name, layer] of Object.entries(table)) expect([name, json(name)]).toEqual([name, layer]);
    expect(json("relu")["type"]).toBe("relu");
  });

  it("that are listed are there, N being any number of steps", () => {
    for (const name of nonlinearityNames) expect(() => json(name.replace("N", "4"))).not.toThrow();
  });

  it("take their rule, and how it is scaled, where they have targets", () => {
    expect(json("step11", { rule: "Adaline", gradScale: false })).toMatchObject({
      backward: "Adaline",
      gradScale: false,
    });
    expect(json("relu", { rule: "Adaline", gradScale: false })).toEqual(json("relu"));
    const hard = nonlinearityNames.filter(hasTargets);
    expect(hard).toEqual(nonlinearityNames.filter((name) => /step|staircase/.test(name)));
  });

  it("that there are not are refused, as are rules that do not go with them", () => {
    expect(refusal("step12")).toMatch(
      /^E_CONFIG: there is no nonlinearity "step12"; did you mean "step11"\? there are/,
    );
    expect(refusal("constructor")).toMatch(/^E_CONFIG: there is no nonlinearity/);
    expect(refusal("staircase1")).toMatch(/^E_CONFIG: .*steps must be at least 2/);
    expect(refusal("staircase3", "Adaline")).toMatch(/^E_CONFIG: .*staircase.* SSTE, TruncWtHinge, SoftHinge/);
    expect(refusal("step01", "Sigmoid")).toMatch(/^E_CONFIG: .*does not go with the activation step01/);
    for (const rule of ["STE", "SSTE", "SSTEv2", "Ramp"])
      expect(refusal("step11", rule, false)).toMatch(/^E_CONFIG: .*--no-tp-grad-scale/);
  });
});
