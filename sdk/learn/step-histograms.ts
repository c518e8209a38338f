/**
 * Histograms of what goes into the layers of step functions and what comes out, for diagnostics: of a sample of the numbers,
 * in a sample of the batches.
 *
 * The two parts are those of the published code of feasible target propagation, and like there they are parts of 1 in spite
 * of their names there, `--tb-sample-pct` and `--tb-drop-pct`:
 *
 *     sample   of an array's numbers, the part that is counted; 0.01 where nothing is said
 *     drop     of the batches, the part in which nothing is looked at; 0.95 where nothing is said
 *
 * There each number is drawn by itself; here it is every s-th one, s = 1 / sample, from a random one on: each is as likely to
 * be seen, and a backend gathers them without a mask. Which ones, and which batches, follows from the seed and the step alone,
 * so every backend, and a run that goes on from a checkpoint, looks at the same.
 */
import { stridedCopy } from "../engine/kernels/strided-copy.ts";
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Histogram } from "./histogram.ts";

/** A layer's input and output in one pass. */
export interface SeenLayer {
  readonly layer: string;
  /** What the layer is: "step11". */
  readonly title: string;
  readonly input: Tensor;
  readonly output: Tensor;
  /** Of training. */
  readonly step: number;
}

export interface StepHistogramsOptions {
  readonly seed: number;
  /** Part of the numbers, in (0, 1]; default 0.01. */
  readonly sample?: number | undefined;
  /** Part of the batches, in [0, 1]; default 0.95. */
  readonly drop?: number | undefined;
  /** Layers that are looked at; default: those whose title begins with a step's or a staircase's name. */
  readonly layers?: ((layer: string, title: string) => boolean) | undefined;
}

const STEPS = /^(step|staircase|oldstaircase|sign)/;

export class StepHistograms {
  /** Steps from one that may be looked at to the next. */
  readonly every = 1;
  private readonly seed: number;
  private readonly sample: number;
  private readonly drop: number;
  private readonly layers: (layer: string, title: string) => boolean;
  private histograms = new Map<string, Histogram>();
  private readonly reads = new Set<Promise<void>>();
  private failed: { readonly thrown: unknown } | undefined;
  /** Of the step that is being looked at; layers take from it in their order. */
  private stream: { readonly step: number; readonly dropped: boolean; readonly offsets: RandomStream } | undefined;

  /** Throws E_CONFIG for parts that are none. */
  constructor({ seed, sample = 0.01, drop = 0.95, layers = (_, title) => STEPS.test(title) }: StepHistogramsOptions) {
    if (!(sample > 0 && sample <= 1))
      throw new WidefieldError("E_CONFIG", `histograms count a part of the numbers in (0, 1], not ${sample}`);
    if (!(drop >= 0 && drop <= 1))
      throw new WidefieldError("E_CONFIG", `histograms leave out a part of the batches in [0, 1], not ${drop}`);
    this.seed = seed;
    this.sample = sample;
    this.drop = drop;
    this.layers = layers;
  }

  /** Whether a step's batch is looked at. */
  sees(step: number): boolean {
    return !this.streamOf(step).dropped;
  }

  /** Takes note of a layer, while its tensors are there; waits for nothing. */
  readonly see = ({ layer, title, input, output, step }: SeenLayer): void => {
    const { dropped, offsets } = this.streamOf(step);
    if (dropped || !this.layers(layer, title)) return;
    for (const [tag, tensor] of [["step_input", input] as const, ["step_output", output] as const]) {
      const histogram = this.histogramOf(`${tag}/${layer}`);
      const read = sampleTensor(tensor, this.sample, offsets)
        .then((values) => void histogram.add(values))
        // Heard of where the histograms are asked for.
        .catch((thrown: unknown) => void (this.failed ??= { thrown }))
        .finally(() => this.reads.delete(read));
      this.reads.add(read);
    }
  };

  /**
   * The histograms since the last call, by their tags: "step_input/layers.2", behind `prefix` ("train/"). None where all
   * batches were left out. Throws what a backend threw.
   */
  async collect(prefix = ""): Promise<ReadonlyMap<string, Histogram>> {
    await Promise.all(this.reads);
    const { failed, histograms } = this;
    this.histograms = new Map();
    this.failed = undefined;
    if (failed !== undefined) throw failed.thrown;
    return new Map([...histograms].map(([tag, histogram]) => [`${prefix}${tag}`, histogram]));
  }

  private streamOf(step: number) {
    if (this.stream?.step === step) return this.stream;
    const offsets = new RandomStream(this.seed, "step histograms", step);
    const made = { step, dropped: offsets.uniform() < this.drop, offsets };
    this.stream = made;
    return made;
  }

  private histogramOf(tag: string): Histogram {
    let histogram = this.histograms.get(tag);
    if (histogram === undefined) {
      histogram = new Histogram();
      this.histograms.set(tag, histogram);
    }
    return histogram;
  }
}

/**
 * About `part` of a tensor's numbers as they are at this point of the queue: every s-th from a random one on, where s is
 * 1 / part, or the next whole number that shares no factor with the tensor's sides: so the sample walks through all columns,
 * rows and channels alike. Only the sample leaves the backend. The tensor may be disposed of, and written, at once.
 */
export function sampleTensor(tensor: Tensor, part: number, stream: RandomStream): Promise<Float32Array> {
  const { device, size } = tensor;
  if (size === 0) return Promise.resolve(new Float32Array(0));
  let stride = Math.max(1, Math.round(1 / part));
  while (greatestCommonDivisor(stride, size) > 1) stride++;
  const offset = stream.below(Math.min(stride, size));
  const count = Math.ceil((size - offset) / stride);
  // A buffer, not a tensor: the scope that is open would dispose of that.
  const slot = device.pool.take(4 * count, "sample");
  const column = { n0: 1, n1: 1, n2: count, n3: 1, inOffset: offset, outOffset: 0, alpha: 1, beta: 0 };
  const inStrides = { inStride0: 0, inStride1: 0, inStride2: stride, inStride3: 0 };
  const outStrides = { outStride0: 0, outStride1: 0, outStride2: 1, outStride3: 0 };
  device.dispatch(stridedCopy, { ...column, ...inStrides, ...outStrides }, [tensor.slot, slot]);
  const read = device.backend.read(slot, 0, 4 * count);
  device.pool.give(slot);
  return read.then((bytes) => new Float32Array(bytes));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
