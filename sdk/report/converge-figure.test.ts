import { describe, expect, it, onTestFinished, vi } from "vitest";
import { RandomStream } from "../engine/rng.ts";
import type { ConvergeResult } from "../experiments/converge.ts";
import { EmpiricalCovariance } from "../learn/empirical-covariance.ts";
import { andersonDarling, kolmogorovSmirnov } from "../learn/goodness-of-fit.ts";
import { convergeSpec } from "./converge-figure.ts";
import { renderFigure } from "./figure.node.ts";

/** A result as the experiment gives it: outputs N(0, unit) times a factor that grows heavy tails where `tails` > 0. */
function resultOf(channels: number[], inputs: number, samples: number, tails = 0, unit = 1): ConvergeResult {
  const kernel = new Float64Array(inputs * inputs).map((_, k) => (k % (inputs + 1) === 0 ? unit : 0.3 * unit));
  const widths = channels.map((width) => {
    const random = new RandomStream(1, width);
    const estimate = new EmpiricalCovariance(inputs);
    const shown = new Float32Array(samples);
    for (let draw = 0; draw < samples; draw++) {
      const factor = Math.sqrt(unit) * Math.exp(tails * random.normal());
      const common = Math.sqrt(0.3) * random.normal();
      const outputs = Float64Array.from({ length: inputs }, () => factor * (common + Math.sqrt(0.7) * random.normal()));
      estimate.add(outputs);
      shown[draw] = outputs[0] ?? NaN;
    }
    const output = {
      variance: 1,
      kurtosis: 0,
      kolmogorovSmirnov: kolmogorovSmirnov(shown, unit),
      andersonDarling: andersonDarling(shown, unit),
    };
    return {
      channels: width,
      draws: samples,
      seconds: 1,
      covariance: estimate.compare(kernel),
      output,
      shown,
      estimate,
    };
  });
  const identity = { dataset: { sha256: "" } };
  return { kernel, inputs, samples, show: 0, variance: unit, gaussianSampling: 0.1, widths, identity };
}

/** Visits every value inside a JSON value. */
function walk(value: unknown, visit: (key: string, value: unknown) => void, key = ""): void {
  visit(key, value);
  if (typeof value === "object" && value !== null)
    for (const [name, inner] of Object.entries(value)) walk(inner, visit, name);
}

describe("the figure of a convergence experiment", () => {
  const cases: [string, ConvergeResult][] = [
    ["one width", resultOf([100], 5, 200)],
    ["two widths", resultOf([10, 1000], 12, 500)],
    ["four widths with heavy tails", resultOf([3, 10, 30, 100], 60, 400, 1.5)],
    ["a single input, of huge variance", resultOf([7, 8], 1, 50, 0, 1e30)],
    ["two draws, of tiny variance", resultOf([1], 3, 2, 0, 1e-30)],
  ];

  it.each(cases)(
    "of %s has one column a width, scales shared along each row, and everything inside them",
    (_, result) => {
      const spec = convergeSpec(result, "title") as unknown as {
        columns: number;
        concat: {
          layer: {
            data: { values: Record<string, number>[] };
            encoding: Record<string, { field?: string; scale?: { domain: number[] } }>;
          }[];
        }[];
      };
      const columns = result.widths.length;
      expect(spec.columns).toBe(columns);
      expect(spec.concat).toHaveLength(3 * columns);
      spec.concat.forEach((panel, index) => {
        const first = spec.concat[index - (index % columns)];
        panel.layer.forEach((layer, which) => {
          for (const axis of ["x", "y"]) {
            const { field = "", scale } = layer.encoding[axis] ?? {};
            const [low = NaN, high = NaN] = scale?.domain ?? [];
            expect(scale).toEqual(first?.layer[which]?.encoding[axis]?.scale);
            for (const datum of layer.data.values) {
              expect(datum[field]).toBeGreaterThanOrEqual(low);
              expect(datum[field]).toBeLessThanOrEqual(high);
            }
          }
        });
      });
      walk(spec, (_key, value) => {
        expect(value).not.toBeNaN();
        if (typeof value === "string") expect(value).not.toMatch(/NaN|Infinity|undefined/);
      });
    },
  );

  it.each(cases)("of %s is drawn without a warning", async (_, result) => {
    const warnings = vi.spyOn(console, "warn");
    onTestFinished(() => warnings.mockRestore());
    const { svg, png } = await renderFigure(convergeSpec(result, "title", ["subtitle"]));
    expect(warnings).not.toHaveBeenCalled();
    for (const { channels } of result.widths) expect(svg).toContain(channels === 1 ? "1 channel<" : "channels<");
    expect(svg).not.toMatch(/NaN|undefined/);
    expect(png.length).toBeGreaterThan(20_000);
  });

  it("counts every draw once: densities and what lies beyond add up", () => {
    const { shown } = resultOf([3], 2, 5000, 1.2).widths[0] ?? {};
    const spec = convergeSpec(resultOf([3], 2, 5000, 1.2), "title");
    const bins: { from: number; to: number; density: number }[] = [];
    walk(spec, (_key, value) => {
      if (typeof value === "object" && value !== null && "density" in value && "from" in value)
        bins.push(value as (typeof bins)[number]);
    });
    const inside = bins.reduce((sum, { from, to, density }) => sum + (to - from) * density, 0);
    const beyond = /(\d[\d,]*) beyond/.exec(JSON.stringify(spec))?.[1]?.replace(",", "");
    expect(inside * 5000 + Number(beyond)).toBeCloseTo(5000, 6);
    expect(Number(beyond)).toBe(shown?.filter((value) => Math.abs(value) > 5).length);
    expect([bins[0]?.from, bins.at(-1)?.to]).toEqual([-5, 5]);
  });

  it("keeps the kernel's range readable beside a width that is far off", () => {
    const [near, far] = [resultOf([100], 8, 500), resultOf([3], 8, 500, 2.5)];
    const both = { ...near, widths: [...far.widths, ...near.widths] };
    const scalesOf = (result: ConvergeResult) => {
      const { concat } = convergeSpec(result, "title") as unknown as {
        concat: { layer: { encoding: Record<string, { scale: { domain: [number, number]; type?: string } }> }[] }[];
      };
      const { x, y } = concat.at(-1)?.layer[1]?.encoding ?? {};
      return [x?.scale, y?.scale];
    };
    const [kernelScale, linear] = scalesOf(near);
    expect(linear?.type).toBeUndefined();
    // The kernel is 0.3 and 1.
    expect(kernelScale?.domain[0]).toBeGreaterThan(0.2);
    expect(kernelScale?.domain[1]).toBeLessThan(1.1);
    const [x, y] = scalesOf(both);
    expect(x).toEqual(kernelScale);
    expect(y?.type).toBe("symlog");
    expect(y?.domain[1]).toBeGreaterThan(4);
  });
});
