/**
 * Do wide networks converge to the Gaussian process? (Garriga-Alonso et al. 2019, section 4.) Networks of several
 * widths are drawn from the prior, and the outputs for a few images are compared with N(0, K), K the kernel of the
 * infinitely wide network: their covariance over the draws, and the distribution of one of them.
 *
 * A distance of the covariance from K has three sources, and the result tells them apart: draws are finite in number
 * (falls like 1/sqrt(draws), and is known for Gaussian outputs); narrow networks have heavier tails, so that their
 * sample covariance is noisier; and the covariance itself is off by O(1/width), or, where an architecture has no such
 * limit, for good.
 */
import { archToJson, type Arch } from "../arch/arch.ts";
import { kernel } from "../arch/kernel.ts";
import type { ImageSet } from "../arch/image-set.ts";
import type { Files } from "../platform/files.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Engine } from "../engine/engine.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { EmpiricalCovariance, gaussianSamplingError, type CovarianceError } from "../learn/empirical-covariance.ts";
import { andersonDarling, kolmogorovSmirnov, type GoodnessOfFit } from "../learn/goodness-of-fit.ts";
import { CONVERGE_FORMAT, ConvergeFolder, type ConvergeIdentity, type WidthState } from "./converge-folder.ts";

/** Networks of one width, drawn from the prior. */
export interface PriorSampler {
  /** Outputs of network number `draw`, one for every input; the same numbers whenever it is asked for. */
  draw(draw: number): Promise<ArrayLike<number>>;
  dispose(): void;
}

export interface ConvergeProgress {
  readonly channels: number;
  readonly draws: number;
  readonly samples: number;
  /** Draws a second, in this run. */
  readonly rate: number;
}

export interface ConvergeExperiment {
  readonly engine: Engine;
  readonly arch: Arch;
  readonly dataset: Dataset;
  /** The first so many training images. */
  readonly inputs: number;
  /** Widths, each once. */
  readonly channels: readonly number[];
  /** Networks of each width. */
  readonly samples: number;
  /** The input whose output's distribution is tested and drawn; default 0. */
  readonly show?: number | undefined;
  /** Where draws are kept, and where a run that was stopped goes on. */
  readonly folder: { readonly files: Files; readonly path: string };
  /** Makes the networks of one width, in what is left of the memory. Called for every width before anything is begun. */
  readonly sampler: (channels: number, inputs: ImageSet, memoryBytes: number) => Promise<PriorSampler>;
  /** The draws so far are saved after so many seconds; default 30. */
  readonly saveEvery?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: ConvergeProgress) => void) | undefined;
}

export interface WidthResult {
  readonly channels: number;
  readonly draws: number;
  readonly seconds: number;
  readonly covariance: CovarianceError;
  /** Of the outputs for the input that is shown. */
  readonly output: {
    /** Their mean square, in units of the kernel's variance. */
    readonly variance: number;
    /** Excess kurtosis; 0 for a Gaussian. */
    readonly kurtosis: number;
    readonly kolmogorovSmirnov: GoodnessOfFit;
    readonly andersonDarling: GoodnessOfFit;
  };
  /** The outputs themselves, in the order of the draws. */
  readonly shown: Float32Array;
  readonly estimate: EmpiricalCovariance;
}

export interface ConvergeResult {
  /** The kernel of the inputs, [inputs, inputs]. */
  readonly kernel: Float64Array;
  readonly inputs: number;
  readonly samples: number;
  readonly show: number;
  /** K(x, x) of the input that is shown. */
  readonly variance: number;
  /** The covariance error that so many draws from N(0, K) would show. */
  readonly gaussianSampling: number;
  readonly widths: readonly WidthResult[];
  readonly identity: ConvergeIdentity;
}

/**
 * Runs the experiment, or what is left of it. Throws E_CONFIG and E_RANGE for what cannot be asked, E_MISMATCH for a
 * folder of another experiment, E_MEMORY, E_OVERFLOW where a network's output is not finite, E_ABORTED when stopped (the draws
 * so far are kept), and what `kernel`, the sampler and the file system throw.
 */
export async function runConverge(experiment: ConvergeExperiment): Promise<ConvergeResult> {
  const { engine, arch, dataset, inputs, samples, channels, folder } = experiment;
  const show = experiment.show ?? 0;
  checkExperiment(experiment, show);
  const memoryBytes = remainingMemory(experiment);
  const images = dataset.select([{ start: 0, end: inputs }]);
  const sampler = (width: number) => experiment.sampler(width, images, memoryBytes - images.images.byteLength);
  // Networks that cannot be made are found now, not after hours with the widths before them.
  for (const width of channels) (await sampler(width)).dispose();
  const matrix = await kernel(engine, arch, images, undefined, { signal: experiment.signal });
  const values = Float64Array.from(matrix.values, (value) => value * 2 ** matrix.exponent);
  const variance = values[show * (inputs + 1)] ?? NaN;
  if (!(variance > 0)) {
    throw new WidefieldError(
      "E_DATA",
      `the kernel's variance for input ${show} is ${variance}: there is no distribution to compare with; show another`,
    );
  }
  const identity = await identityOf(experiment, show);
  const { adapter, threads } = engine.info;
  const recorded = { dataset: dataset.name, adapter, threads };
  const kept = await ConvergeFolder.open(folder.files, folder.path, identity, recorded);
  try {
    // Nor are files that are damaged, or hold too much, found late.
    for (const width of channels) await loadWidth(kept, width, experiment);
    const widths: WidthResult[] = [];
    for (const width of channels) widths.push(await runWidth(experiment, kept, width, show, sampler, values));
    const gaussianSampling = gaussianSamplingError(values, inputs, samples);
    return { kernel: values, inputs, samples, show, variance, gaussianSampling, widths, identity };
  } finally {
    await kept.close();
  }
}

function checkExperiment({ dataset, inputs, channels, samples }: ConvergeExperiment, show: number): void {
  const refuse = (message: string) => new WidefieldError("E_CONFIG", message);
  if (!Number.isSafeInteger(inputs) || inputs < 1) throw refuse(`inputs: at least 1 image, not ${inputs}`);
  if (!Number.isSafeInteger(samples) || samples < 2)
    throw refuse(`samples: a distribution takes at least 2 draws, not ${samples}`);
  if (channels.length === 0) throw refuse("channels: give at least one width");
  channels.forEach((width, index) => {
    if (!Number.isSafeInteger(width) || width < 1)
      throw refuse(
        width > Number.MAX_SAFE_INTEGER
          ? `channels: ${width} is too large a width`
          : `channels: a network has at least 1 channel, not ${width}`,
      );
    if (channels.indexOf(width) < index) throw refuse(`channels: ${width} is listed twice`);
  });
  if (inputs > dataset.trainCount) {
    throw new WidefieldError(
      "E_RANGE",
      `inputs are the first training images, and ${dataset.name} has ${dataset.trainCount}, not ${inputs}`,
    );
  }
  if (!Number.isSafeInteger(show) || show < 0 || show >= inputs)
    throw new WidefieldError("E_RANGE", `input ${show} cannot be shown: the inputs are 0 to ${inputs - 1}`);
}

/** Bytes that are left for the networks. Throws E_MEMORY where nothing is. */
function remainingMemory({ engine, inputs, channels, samples }: ConvergeExperiment): number {
  // The kernel in float32 and float64; a width's products for good, and three copies of one while they are saved.
  const covariances = inputs * inputs * (24 + 4 * channels.length);
  // Outputs as float32 and, in the end, sorted and as text.
  const outputs = samples * (100 + 24 * channels.length);
  const rest = engine.memoryBytes - covariances - outputs;
  if (rest > 0) return rest;
  const [what, fewer] =
    covariances > outputs
      ? [`the covariances of ${inputs} inputs take ${covariances}`, "inputs"]
      : [`the outputs of ${samples} networks of each width take ${outputs}`, "samples"];
  throw new WidefieldError(
    "E_MEMORY",
    `the experiment needs ${covariances + outputs} bytes, and the budget is ${engine.memoryBytes}; ${what}: take fewer ` +
      `${fewer}, or raise --memory`,
    { details: { neededBytes: covariances + outputs, availableBytes: engine.memoryBytes } },
  );
}

/** What every sum in the folder depends on; not the number of draws, nor the other widths. */
async function identityOf({ engine, arch, dataset, inputs }: ConvergeExperiment, show: number) {
  const { backend, adapter } = engine.info;
  return {
    format: CONVERGE_FORMAT,
    // A patch release changes no draw.
    widefield: WIDEFIELD_VERSION.split(".").slice(0, 2).join("."),
    backend,
    // Float32 differs in its last bits between GPUs, and between wasm with fused multiply-add and without.
    instructions: adapter === "single" ? "threads" : adapter,
    arch: archToJson(arch) as Json,
    dataset: { sha256: await dataset.sha256() },
    inputs,
    show,
    seed: engine.seed,
  } satisfies ConvergeIdentity;
}

/** What the folder holds of a width. Throws E_MISMATCH where that is more than is asked for. */
async function loadWidth(
  folder: ConvergeFolder,
  channels: number,
  { inputs, samples }: ConvergeExperiment,
): Promise<WidthState | undefined> {
  const before = await folder.load(channels, inputs);
  if (before !== undefined && before.sums.draws > samples) {
    throw new WidefieldError(
      "E_MISMATCH",
      `${folder.path} holds ${before.sums.draws} draws of ${channels} channels, more than the ${samples} asked for: ask ` +
        `for as many, or choose another folder`,
    );
  }
  return before;
}

async function runWidth(
  experiment: ConvergeExperiment,
  folder: ConvergeFolder,
  channels: number,
  show: number,
  sampler: (channels: number) => Promise<PriorSampler>,
  values: Float64Array,
): Promise<WidthResult> {
  const { inputs } = experiment;
  const before = await loadWidth(folder, channels, experiment);
  const { estimate, shown, seconds } = await drawAll(experiment, folder, channels, show, sampler, before);
  const variance = values[show * (inputs + 1)] ?? NaN;
  return {
    channels,
    draws: estimate.draws,
    seconds,
    covariance: estimate.compare(values),
    output: {
      ...moments(shown, variance),
      kolmogorovSmirnov: kolmogorovSmirnov(shown, variance),
      andersonDarling: andersonDarling(shown, variance),
    },
    shown,
    estimate,
  };
}

async function drawAll(
  { inputs, samples, signal, onProgress, saveEvery = 30 }: ConvergeExperiment,
  folder: ConvergeFolder,
  channels: number,
  show: number,
  sampler: (channels: number) => Promise<PriorSampler>,
  before: WidthState | undefined,
): Promise<{ readonly estimate: EmpiricalCovariance; readonly shown: Float32Array; readonly seconds: number }> {
  const estimate = new EmpiricalCovariance(inputs, before?.sums);
  const shown = new Float32Array(samples);
  shown.set(before?.shown ?? []);
  const first = estimate.draws;
  if (first === samples) return { estimate, shown, seconds: before?.seconds ?? 0 };

  const begun = performance.now();
  const elapsed = () => (performance.now() - begun) / 1000;
  const seconds = () => (before?.seconds ?? 0) + elapsed();
  const save = () =>
    folder.save(channels, inputs, {
      sums: estimate.sums,
      shown: shown.subarray(0, estimate.draws),
      seconds: seconds(),
    });
  let savedAt = 0;
  const networks = await sampler(channels);
  try {
    onProgress?.({ channels, draws: first, samples, rate: 0 });
    for (let index = first; index < samples; index++) {
      if (signal?.aborted === true) {
        throw new WidefieldError(
          "E_ABORTED",
          `stopped with ${index} of ${samples} draws of ${channels} channels on disk; the same command goes on`,
        );
      }
      const outputs = await networks.draw(index);
      try {
        estimate.add(outputs);
      } catch (cause) {
        if (!(cause instanceof WidefieldError)) throw cause;
        throw new WidefieldError(cause.code, `network ${index} of ${channels} channels: ${messageOf(cause)}`, {
          cause,
        });
      }
      shown[index] = outputs[show] ?? NaN;
      if (elapsed() - savedAt > saveEvery) {
        await save();
        savedAt = elapsed();
      }
      onProgress?.({ channels, draws: index + 1, samples, rate: (index + 1 - first) / elapsed() });
    }
  } finally {
    networks.dispose();
    // Stopped, failed or done: no draw is made twice.
    if (estimate.draws > first) await save();
  }
  return { estimate, shown, seconds: seconds() };
}

/** About 0, the mean that the prior has. */
function moments(sample: Float32Array, variance: number): { readonly variance: number; readonly kurtosis: number } {
  let [second, fourth] = [0, 0];
  for (const value of sample) {
    const square = (value * value) / variance;
    second += square / sample.length;
    fourth += (square * square) / sample.length;
  }
  return { variance: second, kurtosis: fourth / (second * second) - 3 };
}
