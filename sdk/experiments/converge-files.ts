/** What a convergence experiment leaves for other programs: a table, a JSON object to repeat it from, the outputs. */
import type { ConvergeResult } from "./converge.ts";

/** Where and when, beside what the result itself knows. */
export interface ConvergeFacts {
  /** The command line that repeats the run. */
  readonly command?: string | undefined;
  readonly dataset: string;
  readonly adapter: string;
  readonly threads: number;
  readonly runtime: string;
}

/** Everything but the samples: the manifest, the kernel's size, and for every width errors and statistics. */
export function convergeJson(result: ConvergeResult, { command, dataset, ...facts }: ConvergeFacts) {
  const { identity, widths, samples, inputs, show, variance, gaussianSampling } = result;
  return {
    manifest: {
      command,
      ...identity,
      dataset: { name: dataset, sha256: identity.dataset.sha256 },
      channels: widths.map(({ channels }) => channels),
      samples,
      ...facts,
    },
    inputs,
    show,
    kernelVariance: variance,
    gaussianSampling,
    widths: widths.map(({ channels, draws, seconds, covariance, output }) => ({
      channels,
      draws,
      seconds,
      covariance,
      output,
    })),
  };
}

/** One line a width. */
export function convergeCsv({ widths, gaussianSampling }: ConvergeResult): string {
  const lines = widths.map(({ channels, draws, seconds, covariance, output }) => {
    const { kolmogorovSmirnov: ks, andersonDarling: ad } = output;
    return [
      ...[channels, draws, covariance.error, gaussianSampling, covariance.sampling, covariance.rest],
      ...[output.variance, output.kurtosis, ks.statistic, ks.pValue, ad.statistic, ad.pValue, seconds],
    ];
  });
  const head = [
    ...["channels", "draws", "covariance_error", "gaussian_sampling", "sampling", "rest"],
    ...["output_variance", "output_kurtosis", "ks", "ks_p", "ad", "ad_p", "seconds"],
  ];
  return csv([head, ...lines]);
}

/** The outputs for the input that is shown: one line a draw, one column a width. */
export function outputsCsv({ widths, samples }: ConvergeResult): string {
  const rows = Array.from({ length: samples }, (_, draw) => [draw, ...widths.map(({ shown }) => shown[draw] ?? NaN)]);
  return csv([["draw", ...widths.map(({ channels }) => `channels_${channels}`)], ...rows]);
}

function csv(rows: readonly (readonly (string | number)[])[]): string {
  return `${rows.map((row) => row.join(",")).join("\n")}\n`;
}
