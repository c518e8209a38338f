/**
 * The figure of a convergence experiment, one column a width. From above: the distribution of one output against the
 * density of the Gaussian process; the same as quantiles against quantiles, which shows the tails; the covariances of
 * all pairs of inputs against the kernel's. Outputs are in standard deviations of the Gaussian process, covariances in
 * units of the kernel's mean variance, so that every architecture has readable axes.
 */
import type { TopLevelSpec } from "vega-lite";
import { RandomStream } from "../engine/rng.ts";
import type { ConvergeResult, WidthResult } from "../experiments/converge.ts";
import type { GoodnessOfFit } from "../learn/goodness-of-fit.ts";
import { normalPdf, normalQuantile } from "../learn/normal.ts";
import { BLUE, figureConfig, INK, MUTED, ORANGE } from "./figure.ts";

type Panel = Extract<TopLevelSpec, { concat: unknown[] }>["concat"][number];
type Domain = readonly [low: number, high: number];

/** The histogram covers so many standard deviations on either side; how many outputs lie beyond is said above it. */
const REACH = 5;
/** Where covariances reach over so many times the kernel's range, they are drawn on a symlog scale. */
const STRETCHED = 3;
/** Where a peak is so high, densities are drawn on a square-root scale: the Gaussian has 0.4. */
const STEEP = 1.2;
/** Of a sample, the so many smallest and largest values are points of their own, and so many quantiles between. */
const ENDS = 30;
const BETWEEN = 150;
/** Pairs of inputs in a scatter plot, beside all variances. */
const PAIRS = 600;
/** Beyond so many standard deviations the quantiles' axes turn logarithmic, so that the middle stays readable. */
const LINEAR_UP_TO = 8;

/** The specification, which holds its data. `title` and `subtitle` are the lines above all columns. */
export function convergeSpec(result: ConvergeResult, title: string, subtitle: readonly string[] = []): TopLevelSpec {
  const { widths } = result;
  const size = widths.length > 2 ? 200 : 250;
  const panels = [...histograms(result), ...quantiles(result), ...scatters(result)];
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: {
      text: title,
      subtitle: [...subtitle, "σ² = K(x, x); covariances in units of the kernel's mean variance"],
      fontSize: 15,
      offset: 18,
    },
    columns: widths.length,
    spacing: { row: 92, column: 28 },
    bounds: "flush",
    resolve: { legend: { color: "independent" } },
    concat: panels.map((panel): Panel => ({ ...panel, width: size, height: size })),
    config: figureConfig,
  };
}

/** Lines above a panel, flush with its left edge. */
function caption(...text: string[]) {
  return { text, color: MUTED, fontSize: 11, lineHeight: 14, frame: "group" as const };
}

/** A position's scale and axis, to which a field is added. */
interface Position {
  readonly type: "quantitative";
  readonly scale: {
    domain: [number, number];
    nice: false;
    zero: false;
    type?: "symlog" | "sqrt";
    constant?: number;
  };
  readonly title: string | null;
  readonly axis: { tickCount?: number; values?: number[]; labels?: boolean; ticks?: boolean; labelOverlap?: false };
}

function position(title: string, [low, high]: Domain): Position {
  const scale: Position["scale"] = { domain: [low, high], nice: false, zero: false };
  return { type: "quantitative", scale, title, axis: { tickCount: 5 } };
}

/** Titles are short: Vega takes letters for wider than they are, and a title longer than its axis moves the panel.
 * All columns have the same vertical scale: the first one names it. */
function sharedBy(column: number, y: Position): Position {
  return column === 0 ? y : { ...y, title: null, axis: { ...y.axis, labels: false, ticks: false } };
}

function histograms({ widths, show, variance }: ConvergeResult): Panel[] {
  const scale = Math.sqrt(variance);
  const columns = widths.map(({ shown }) => binned(shown, scale));
  const most = Math.max(normalPdf(0), ...columns.flatMap(({ bins }) => bins.map(({ density }) => density)));
  const curve = Array.from({ length: 121 }, (_, i) => (i / 60 - 1) * REACH).map((z) => ({ z, density: normalPdf(z) }));
  const steep = most > STEEP;
  return columns.map(({ bins, beyond }, column): Panel => {
    const { channels, output } = at(widths, column);
    const x = position(`output for input ${show} / σ`, [-REACH, REACH]);
    const linear = position(steep ? "density (sqrt scale)" : "density", [0, 1.06 * most]);
    const y = sharedBy(column, steep ? { ...linear, scale: { ...linear.scale, type: "sqrt" } } : linear);
    return {
      title: {
        text: channels === 1 ? "1 channel" : `${grouped(channels)} channels`,
        fontSize: 14,
        frame: "group",
        subtitle: [
          `variance ${rounded(output.variance)} σ²; ${grouped(beyond)} beyond ±${REACH} σ`,
          `excess kurtosis ${rounded(output.kurtosis)}`,
        ],
      },
      layer: [
        {
          data: { values: bins },
          mark: { type: "rect", color: BLUE, opacity: 0.45 },
          encoding: {
            x: { ...x, field: "from" },
            x2: { field: "to" },
            y: { ...y, field: "density" },
            y2: { datum: 0 },
          },
        },
        {
          data: { values: curve },
          mark: { type: "line", color: INK, strokeWidth: 1.5 },
          encoding: { x: { ...x, field: "z" }, y: { ...y, field: "density" } },
        },
      ],
    };
  });
}

/** Densities in bins of equal width, the middle one centred at 0, from -REACH to REACH; and the number of values beyond. */
function binned(sample: Float32Array, scale: number) {
  // Scott's rule for a standard normal.
  const perUnit = Math.max(1, Math.min(8, Math.round(Math.cbrt(sample.length) / 3.49)));
  const counts = new Array<number>(2 * REACH * perUnit + 1).fill(0);
  const width = (2 * REACH) / counts.length;
  let beyond = 0;
  for (const value of sample) {
    if (Math.abs(value) > REACH * scale) {
      beyond++;
      continue;
    }
    const bin = Math.min(Math.floor((value / scale + REACH) / width), counts.length - 1);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  const edge = (bin: number) => REACH * ((2 * bin) / counts.length - 1);
  const bins = counts.map((count, bin) => ({
    from: edge(bin),
    to: edge(bin + 1),
    density: count / (width * sample.length),
  }));
  return { bins, beyond };
}

function quantiles({ widths, variance }: ConvergeResult): Panel[] {
  const scale = Math.sqrt(variance);
  const columns = widths.map(({ shown }) => quantilePoints(shown, scale));
  const far = Math.max(3, ...columns.flat().flatMap(({ theory, sample }) => [Math.abs(theory), Math.abs(sample)]));
  const limit = (far <= LINEAR_UP_TO ? 1.06 : 1.4) * far;
  const axis = (title: string): Position => {
    const linear = position(title, [-limit, limit]);
    if (far <= LINEAR_UP_TO) return linear;
    // Both axes bend in the same way, so that the diagonal stays straight.
    const scale = { ...linear.scale, type: "symlog", constant: 1 } as const;
    return { ...linear, scale, axis: { values: decades(limit), labelOverlap: false } };
  };
  return columns.map((values, column): Panel => {
    const { output } = at(widths, column);
    const x = axis("Gaussian quantile / σ");
    const y = sharedBy(column, axis("output quantile / σ"));
    return {
      title: caption(testText("KS: D", output.kolmogorovSmirnov), testText("AD: A²", output.andersonDarling)),
      layer: [
        diagonal([-limit, limit], x, y),
        {
          data: { values },
          mark: { type: "circle", color: BLUE, opacity: 0.8, size: 14 },
          encoding: { x: { ...x, field: "theory" }, y: { ...y, field: "sample" } },
        },
      ],
    };
  });
}

/** Sorted values against normal quantiles at (i - 1/2) / n: every value at the ends, evenly in the quantile between. */
function quantilePoints(sample: Float32Array, scale: number): { theory: number; sample: number }[] {
  const sorted = Float64Array.from(sample, (value) => value / scale).sort();
  const n = sorted.length;
  const theory = (index: number) => normalQuantile((index + 0.5) / n);
  const last = -theory(0);
  let next = -Infinity;
  return Array.from(sorted, (value, index) => ({ theory: theory(index), sample: value })).filter(
    ({ theory: z }, index) => {
      if (index >= ENDS && index < n - ENDS && z < next) return false;
      next = z + (2 * last) / BETWEEN;
      return true;
    },
  );
}

/** 0, and 1, 3, 10, 30, ... with both signs. */
function decades(limit: number): number[] {
  const positive = Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? 1 : 3) * 10 ** Math.floor(i / 2)).filter(
    (v) => v < limit,
  );
  // From four labels a side on they would touch.
  const every = Math.ceil(positive.length / 3);
  const chosen = positive.filter((_, i) => i % every === 0);
  return [...chosen.map((value) => -value), 0, ...chosen];
}

function scatters(result: ConvergeResult): Panel[] {
  const { widths, kernel, inputs, gaussianSampling } = result;
  let trace = 0;
  for (let i = 0; i < inputs; i++) trace += kernel[i * (inputs + 1)] ?? NaN;
  const unit = trace / inputs;
  const pairs = chosenPairs(inputs);
  const columns = widths.map(({ estimate }) =>
    pairs.map(({ i, j }) => ({
      kernel: (kernel[i * inputs + j] ?? NaN) / unit,
      sample: estimate.at(i, j) / unit,
      kind: i === j ? "variances" : "covariances",
    })),
  );
  // The kernel alone sets the horizontal scale: one narrow width, whose covariances are far off, would squeeze all of it.
  const kernelDomain = domainOf(columns.flat().map(({ kernel: k }) => k));
  const all = [...columns.flat().map(({ sample }) => sample), ...kernelDomain];
  const steep = Math.max(...all) - Math.min(...all) > STRETCHED * (kernelDomain[1] - kernelDomain[0]);
  const domain = steep ? symlogDomainOf(all) : domainOf(all);
  const vertical = (): Position => {
    const linear = position(steep ? "covariance (symlog)" : "networks' covariance", domain);
    if (!steep) return linear;
    const ticks = decades(Math.max(-domain[0], domain[1])).filter((value) => value >= domain[0] && value <= domain[1]);
    return {
      ...linear,
      scale: { ...linear.scale, type: "symlog", constant: 1 },
      axis: { values: ticks, labelOverlap: false },
    };
  };
  return columns.map((values, column): Panel => {
    const { covariance } = at(widths, column);
    const x = position("kernel", kernelDomain);
    const y = sharedBy(column, vertical());
    const lastColumn = column === columns.length - 1;
    return {
      title: caption(
        `error ${percent(covariance.error)} (a GP's draws: ${percent(gaussianSampling)})`,
        `sampling ${percent(covariance.sampling)}, rest ${percent(covariance.rest)}`,
      ),
      layer: [
        diagonal(kernelDomain, x, y),
        {
          data: { values },
          mark: { type: "circle", opacity: 0.5, size: values.length < 100 ? 40 : 14 },
          encoding: {
            x: { ...x, field: "kernel" },
            y: { ...y, field: "sample" },
            color: {
              field: "kind",
              type: "nominal",
              scale: { domain: ["covariances", "variances"], range: [BLUE, ORANGE] },
              legend: lastColumn ? { title: null, orient: "bottom", symbolOpacity: 1 } : null,
            },
          },
        },
      ],
    };
  });
}

/** What holds all values, with a margin. */
function domainOf(values: readonly number[]): Domain {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = Math.max(0.06 * (high - low), 0.02 * Math.abs(high));
  return [low - margin, high + margin];
}

/** The same with a margin that looks the same on a symlog scale of constant 1. */
function symlogDomainOf(values: readonly number[]): Domain {
  const bent = values.map((value) => Math.sign(value) * Math.log1p(Math.abs(value)));
  const [low, high] = domainOf(bent).map((value) => Math.sign(value) * Math.expm1(Math.abs(value)));
  return [low ?? NaN, high ?? NaN];
}

/** All variances, and all pairs or a random choice of them that is the same in every run. */
function chosenPairs(inputs: number): { i: number; j: number }[] {
  const all: { i: number; j: number }[] = [];
  const random = new RandomStream(0, "figure pairs");
  const count = (inputs * (inputs - 1)) / 2;
  for (let i = 0; i < inputs; i++)
    for (let j = 0; j < i; j++) if (count <= PAIRS || random.uniform32() < PAIRS / count) all.push({ i, j });
  // The variances last, above the crowd.
  for (let i = 0; i < Math.min(inputs, PAIRS); i++) all.push({ i, j: i });
  return all;
}

/** The line y = x, in as many pieces as a scale that bends needs. */
function diagonal([low, high]: Domain, x: Position, y: Position) {
  const pieces = x.scale.type === y.scale.type ? 1 : 64;
  const values = Array.from({ length: pieces + 1 }, (_, i) => ({ both: low + ((high - low) * i) / pieces }));
  // Rounding must not carry its end out of the panel.
  values[pieces] = { both: high };
  return {
    data: { values },
    mark: { type: "line", color: INK, strokeWidth: 1 },
    encoding: { x: { ...x, field: "both" }, y: { ...y, field: "both" } },
  } as const;
}

function testText(name: string, { statistic, pValue }: GoodnessOfFit): string {
  return `${name} = ${rounded(statistic)}, p ${pValue < 1e-4 ? "< 0.0001" : `= ${pValue.toPrecision(2)}`}`;
}

function at(widths: readonly WidthResult[], column: number): WidthResult {
  const width = widths[column];
  if (width === undefined) throw new Error(`there is no column ${column}`);
  return width;
}

const grouped = (value: number) => new Intl.NumberFormat("en").format(value);
const threeDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const rounded = (value: number) => (Number.isNaN(value) ? "-" : threeDigits.format(value));
const percent = (value: number) => `${rounded(100 * value)} %`;
