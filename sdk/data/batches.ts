/**
 * Batches: shuffled images with their labels and targets, cut, mirrored and normalised, prepared a few ahead on workers
 * while the caller computes. They are the same bits for any number of workers, none included, because what is done to an
 * image depends on the seed, the epoch and the image alone.
 *
 *     const loader = await BatchLoader.open({ source, workers: 2 });
 *     for (let epoch = 0; epoch < epochs; epoch++) {
 *       const order = epochOrder(split.train, seed, epoch);
 *       for await (const batch of loader.batches({ order, batch: 64, augment: true, seed, epoch, normalisation })) {
 *         await step(batch.images, batch.labels);
 *         release(batch);
 *       }
 *     }
 *     await loader.close();
 *
 * A batch that is released gives its memory to one that follows, so that an epoch allocates a few batches and no more;
 * one that is not is left to the garbage collector.
 */
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { type Platform, platform as installedPlatform } from "../platform/platform.ts";
import { DataThreads, type Prepared } from "./batch-threads.ts";
import { type BatchSource, canShare } from "./batch-source.ts";
import { imageFloats } from "./dataset.ts";
import { identityNormalisation, type Normalisation, requireNormalisation } from "./normalisation.ts";
import { BatchPreparer, type BatchRecipe } from "./prepare.ts";

export interface Batch {
  /** [count, channels, height, width], normalised. */
  readonly images: Float32Array<ArrayBuffer>;
  /** Of each image; empty where the source has no labels. */
  readonly labels: Uint32Array<ArrayBuffer>;
  /** [count, outputs]; undefined where the source has no targets. */
  readonly targets?: Float32Array<ArrayBuffer>;
  /** At most the plan's `batch`; fewer in the last batch, and where images were left out. */
  readonly count: number;
  /** Of each image in the source. */
  readonly indices: Uint32Array<ArrayBuffer>;
}

/** One pass over some images. */
export interface EpochPlan {
  /** Indices into the source, in the order in which they go out (`epochOrder`). */
  readonly order: Uint32Array;
  /** Images of a batch. */
  readonly batch: number;
  /** True: the source's augmentation, for training; images of files are cut at random. False: none, from the middle. */
  readonly augment: boolean;
  readonly seed: number;
  /** Counted from 0, below 2^21. */
  readonly epoch: number;
  /** Default: images go out as they are, bytes divided by 255. */
  readonly normalisation?: Normalisation | undefined;
}

export interface LoaderOptions {
  readonly source: BatchSource;
  /** Threads that prepare batches; 0: the caller's does, between its own steps. */
  readonly workers: number;
  /** Images that do not decode are left out, and named in `badImages`; else the first of them is an error. */
  readonly skipBad?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Takes a line about workers that did not start and images that are left out. */
  readonly log?: ((line: string) => void) | undefined;
  /** For tests; default: the runtime's own. */
  readonly platform?: Pick<Platform, "startWorker"> | undefined;
}

export interface BatchPlan extends EpochPlan, LoaderOptions {}

/** An image that was left out. */
export interface BadImage {
  readonly path: string;
  readonly reason: string;
}

/** Indices in the order of an epoch: shuffled by the seed and the epoch, every order equally likely. A fresh array. */
export function epochOrder(indices: Uint32Array, seed: number, epoch: number): Uint32Array<ArrayBuffer> {
  return new RandomStream(seed, "epoch", epoch).shuffle(Uint32Array.from(indices));
}

/**
 * One epoch with workers of its own; a `BatchLoader` keeps them from epoch to epoch. Ending the iteration (break, return,
 * an error) stops the workers.
 *
 * @throws WidefieldError as `BatchLoader.batches`
 */
export async function* batches(plan: BatchPlan): AsyncGenerator<Batch, void, undefined> {
  requirePlan(plan.source, plan);
  const loader = await BatchLoader.open(plan);
  try {
    yield* loader.batches(plan);
  } finally {
    await loader.close();
  }
}

/** What gives a batch's memory back. */
const releases = new WeakMap<Batch, () => void>();

/** Gives a batch's memory to those that follow: its arrays must not be used any more. */
export function release(batch: Batch): void {
  releases.get(batch)?.();
  releases.delete(batch);
}

/** The memory of one batch of at most `capacity` images. */
interface Slot {
  /** Away while a worker has it. */
  images: ArrayBuffer;
  readonly labels: Uint32Array<ArrayBuffer>;
  readonly indices: Uint32Array<ArrayBuffer>;
  readonly targets: Float32Array<ArrayBuffer>;
}

/** A batch under way. */
interface Pending {
  readonly slot: Slot;
  readonly asked: Uint32Array;
  readonly job: number | undefined;
  readonly done: Promise<Prepared>;
}

/** Batches that are this large are prepared one ahead on every worker, smaller ones two. */
const LARGE_BYTES = 2 ** 25;

export class BatchLoader {
  readonly #options: LoaderOptions;
  readonly #threads: DataThreads | undefined;
  readonly #preparer: BatchPreparer;
  /** Memory that no batch uses, by capacity. */
  readonly #slots = new Map<number, Slot[]>();
  readonly #bad = new Map<string, BadImage>();
  #closed = false;

  private constructor(options: LoaderOptions, threads: DataThreads | undefined) {
    this.#options = options;
    this.#threads = threads;
    const { images, read, name } = options.source;
    this.#preparer = new BatchPreparer(images, async (path) => {
      if (read === undefined) throw new Error(`${name}: no way to read ${path}`);
      return read(path);
    });
  }

  /**
   * Starts the workers, which get the images; where none starts, the caller's thread does their work.
   *
   * @throws WidefieldError E_CONFIG for a number of workers that is none
   */
  static async open(options: LoaderOptions): Promise<BatchLoader> {
    const { source, workers, log = () => undefined } = options;
    if (!Number.isInteger(workers) || workers < 0)
      throw new WidefieldError("E_CONFIG", `the number of data workers must be 0 or more, not ${workers}`);
    // Images that are made when they are asked for appear in memory that workers see, or are of no use to them.
    const reachable = source.make === undefined || canShare();
    if (workers > 0 && !reachable)
      log(`${source.name}: its images are made on the main thread, and this page shares no memory: no data workers`);
    const platform = options.platform ?? (workers > 0 ? installedPlatform() : undefined);
    const wanted = workers > 0 && reachable && platform !== undefined;
    return new BatchLoader(
      options,
      wanted ? await DataThreads.start(platform, source.images, workers, log) : undefined,
    );
  }

  /** Threads that prepare batches. */
  get workers(): number {
    return this.#threads?.count ?? 0;
  }

  /** Images that were left out so far, each once. */
  get badImages(): readonly BadImage[] {
    return [...this.#bad.values()];
  }

  /**
   * The batches of one epoch, in order. Ending the iteration early stops what the workers do for it.
   *
   * @throws WidefieldError E_CONFIG, E_SHAPE, E_RANGE for a plan that cannot be meant; E_DATA for an image that cannot be
   *   used; E_IO; E_DEVICE for a worker that died, with its number; E_ABORTED; E_CLOSED
   */
  async *batches(plan: EpochPlan): AsyncGenerator<Batch, void, undefined> {
    const { source, signal } = this.#options;
    if (this.#closed) throw new WidefieldError("E_CLOSED", `${source.name}: this loader of batches was closed`);
    requirePlan(source, plan);
    const abort = abortOf(source.name, signal);
    const pending: Pending[] = [];
    const ahead = this.#ahead(plan.batch);
    let next = 0;
    const fill = () => {
      for (; pending.length < ahead && next < plan.order.length; next += plan.batch)
        pending.push(this.#begin(plan, plan.order.subarray(next, next + plan.batch)));
    };
    try {
      for (;;) {
        abort.check();
        fill();
        const first = pending[0];
        if (first === undefined) return;
        const prepared = await abort.before(first.done);
        pending.shift();
        const batch = this.#finish(first, prepared);
        // While the caller computes, workers go on.
        if (this.#threads !== undefined) fill();
        if (batch !== undefined) yield batch;
      }
    } finally {
      abort.end();
      this.#abandon(pending);
    }
  }

  /** Ends the workers. Batches that are out stay usable. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#slots.clear();
    await this.#threads?.close();
  }

  /** How many batches may be under way. */
  #ahead(batch: number): number {
    if (this.#threads === undefined) return 1;
    const large = batch * imageFloats(this.#options.source.shape) * Float32Array.BYTES_PER_ELEMENT >= LARGE_BYTES;
    return this.#threads.count * (large ? 1 : 2);
  }

  #begin(plan: EpochPlan, asked: Uint32Array): Pending {
    const { source, skipBad = false } = this.#options;
    const { pathOf, make } = source;
    const slot = this.#slot(plan.batch);
    make?.(asked);
    const recipe: BatchRecipe = {
      indices: asked.slice(),
      paths: pathOf === undefined ? undefined : Array.from(asked, (index) => pathOf(index)),
      augment: plan.augment,
      seed: plan.seed,
      epoch: plan.epoch,
      normalisation: plan.normalisation ?? identityNormalisation(source.shape.channels),
      skipBad,
    };
    const run = this.#threads?.run(recipe, slot.images);
    const done = run?.done ?? this.#prepareHere(recipe, slot.images);
    // Whoever waits hears of a failure; one that nobody waits for any more is nobody's.
    done.catch(() => undefined);
    return { slot, asked, job: run?.job, done };
  }

  async #prepareHere(recipe: BatchRecipe, buffer: ArrayBuffer): Promise<Prepared> {
    return { buffer, bad: await this.#preparer.prepare(recipe, new Float32Array(buffer)) };
  }

  /** Undefined where no image is left. */
  #finish({ slot, asked }: Pending, { buffer, bad }: Prepared): Batch | undefined {
    const { source } = this.#options;
    const { labels, targets, outputs } = source;
    slot.images = buffer;
    for (const { path, reason } of bad) this.#report({ path, reason });
    const left = new Set(bad.map(({ position }) => position));
    let count = 0;
    asked.forEach((index, position) => {
      if (left.has(position)) return;
      slot.indices[count] = index;
      if (labels !== undefined) slot.labels[count] = labels[index] ?? 0;
      if (targets !== undefined)
        slot.targets.set(targets.subarray(index * outputs, (index + 1) * outputs), count * outputs);
      count++;
    });
    if (count === 0) {
      this.#free(slot);
      return undefined;
    }
    const batch: Batch = {
      images: new Float32Array(buffer, 0, count * imageFloats(source.shape)),
      labels: slot.labels.subarray(0, labels === undefined ? 0 : count),
      indices: slot.indices.subarray(0, count),
      count,
      ...(targets === undefined ? {} : { targets: slot.targets.subarray(0, count * outputs) }),
    };
    releases.set(batch, () => this.#free(slot));
    return batch;
  }

  #report(bad: BadImage): void {
    if (this.#bad.has(bad.path)) return;
    this.#bad.set(bad.path, bad);
    this.#options.log?.(`left out: ${bad.path}: ${bad.reason}`);
  }

  #slot(capacity: number): Slot {
    const free = this.#slots.get(capacity)?.pop();
    if (free !== undefined) return free;
    const { shape, outputs } = this.#options.source;
    return {
      images: new ArrayBuffer(capacity * imageFloats(shape) * Float32Array.BYTES_PER_ELEMENT),
      labels: new Uint32Array(capacity),
      indices: new Uint32Array(capacity),
      targets: new Float32Array(capacity * outputs),
    };
  }

  #free(slot: Slot): void {
    if (this.#closed) return;
    const { length } = slot.labels;
    const free = this.#slots.get(length) ?? [];
    this.#slots.set(length, free);
    free.push(slot);
  }

  /** Nobody waits for these any more; what comes back of them is used again. */
  #abandon(pending: readonly Pending[]): void {
    this.#threads?.cancel(pending.flatMap(({ job }) => (job === undefined ? [] : [job])));
    for (const { slot, done } of pending) {
      void done.then(
        ({ buffer }) => {
          slot.images = buffer;
          this.#free(slot);
        },
        () => undefined,
      );
    }
  }
}

/** Throws E_CONFIG, E_SHAPE, E_RANGE. */
function requirePlan(source: BatchSource, { order, batch, normalisation, epoch }: EpochPlan): void {
  const { name, count, shape } = source;
  if (!Number.isInteger(batch) || batch < 1)
    throw new WidefieldError("E_CONFIG", `${name}: a batch has 1 image or more, not ${batch}`);
  if (!Number.isInteger(epoch) || epoch < 0 || epoch >= 2 ** 21)
    throw new WidefieldError("E_CONFIG", `${name}: an epoch is an integer in 0..2^21-1, not ${epoch}`);
  if (normalisation !== undefined) requireNormalisation(normalisation, shape, name);
  const beyond = order.find((index) => index >= count);
  if (beyond === undefined) return;
  throw new WidefieldError(
    "E_RANGE",
    `${name}: image ${beyond} was asked for, and there are ${count} (0 to ${count - 1})`,
    {
      details: { index: beyond, count },
    },
  );
}

/** Waiting that a signal ends. */
function abortOf(name: string, signal: AbortSignal | undefined) {
  const error = () => new WidefieldError("E_ABORTED", `${name}: stopped while preparing batches`);
  let stop: (() => void) | undefined;
  const listener = () => stop?.();
  signal?.addEventListener("abort", listener);
  return {
    check: () => {
      if (signal?.aborted === true) throw error();
    },
    /**
     * What a promise comes to, or E_ABORTED. A race with one promise of the signal's would hold every batch of the epoch
     * until its end: what waits for a promise that stays open is kept, with all that it has come to by itself.
     */
    before: async <T>(done: Promise<T>): Promise<T> => {
      try {
        return await new Promise<T>((resolve, reject) => {
          stop = () => reject(error());
          done.then(resolve, reject);
        });
      } finally {
        stop = undefined;
      }
    },
    end: () => signal?.removeEventListener("abort", listener),
  };
}
