/**
 * Workers that prepare batches: their start, their jobs, their end. A worker that dies fails the batches it was given,
 * with its number and what it was doing; nobody waits for it in vain.
 */
import { messageOf, WidefieldError } from "../errors.ts";
import type { Platform, WorkerHandle } from "../platform/platform.ts";
import { canShare, type FileImages, type MemoryImages, sharedBuffer } from "./batch-source.ts";
import type { DataWorkerJob, DataWorkerReport, ErrorFacts } from "./batch-worker.ts";
import type { BatchRecipe, UnusableImage } from "./prepare.ts";

/** A prepared batch: its buffer, and what was left out. */
export interface Prepared {
  readonly buffer: ArrayBuffer;
  readonly bad: readonly UnusableImage[];
}

interface Waiting {
  resolve(prepared: Prepared): void;
  reject(error: Error): void;
}

/** One worker, as its caller sees it. */
class DataThread {
  readonly #handle: WorkerHandle;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting>();
  #failure: WidefieldError | undefined;
  #started: { resolve(): void; reject(error: Error): void } | undefined;

  constructor(handle: WorkerHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
    handle.onError((error) => this.#fail(error.message));
    handle.onMessage((message) => this.#take(message as DataWorkerReport));
  }

  /** Batches it has been given and not sent back. */
  get load(): number {
    return this.#waiting.size;
  }

  async start(images: MemoryImages | FileImages): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#started = { resolve, reject };
      this.#handle.keepAlive(true);
      this.#handle.post({ images });
    });
    this.#handle.keepAlive(false);
  }

  async run(message: DataWorkerJob): Promise<Prepared> {
    if (this.#failure !== undefined) throw this.#failure;
    return new Promise<Prepared>((resolve, reject) => {
      this.#waiting.set(message.job, { resolve, reject });
      this.#handle.keepAlive(true);
      this.#handle.post(message, [message.buffer]);
    });
  }

  cancel(jobs: readonly number[]): void {
    const mine = jobs.filter((job) => this.#waiting.has(job));
    if (mine.length > 0) this.#handle.post({ cancel: mine });
  }

  async close(): Promise<void> {
    this.#fail("it was closed");
    await this.#handle.terminate();
  }

  #take(report: DataWorkerReport): void {
    if ("ready" in report) {
      this.#started?.resolve();
      return;
    }
    const waiting = this.#waiting.get(report.job);
    this.#waiting.delete(report.job);
    if (this.#waiting.size === 0) this.#handle.keepAlive(false);
    if ("error" in report) waiting?.reject(errorOf(report.error));
    else waiting?.resolve({ buffer: report.buffer, bad: report.bad });
  }

  #fail(reason: string): void {
    const doing = this.#waiting.size === 0 ? "" : " while it prepared a batch";
    this.#failure ??= new WidefieldError(
      "E_DEVICE",
      `${this.#name} stopped${doing}: ${reason}; run the same command again, with fewer workers if memory is short`,
      { details: { worker: this.#name } },
    );
    this.#started?.reject(this.#failure);
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure);
    this.#waiting.clear();
    this.#handle.keepAlive(false);
  }
}

function errorOf({ code, message, details }: ErrorFacts): Error {
  return code === undefined
    ? new Error(`a data worker failed: ${message}`)
    : new WidefieldError(code, message, { details });
}

/** All workers of a loader. */
export class DataThreads {
  readonly #threads: readonly DataThread[];
  #jobs = 0;

  private constructor(threads: readonly DataThread[]) {
    this.#threads = threads;
  }

  /**
   * Starts workers and gives them the images.
   *
   * @returns as many as started: none where the runtime has no workers, which `log` is told
   */
  static async start(
    platform: Pick<Platform, "startWorker">,
    images: MemoryImages | FileImages,
    count: number,
    log: (line: string) => void,
  ): Promise<DataThreads | undefined> {
    const given = images.kind === "memory" ? inSharedMemory(images) : images;
    const started = await Promise.allSettled(
      Array.from({ length: count }, async (_, i) => {
        const thread = new DataThread(await platform.startWorker("data"), `data worker ${i + 1} of ${count}`);
        try {
          await thread.start(given);
        } catch (thrown) {
          await thread.close();
          throw thrown;
        }
        return thread;
      }),
    );
    const threads = started.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    const failure = started.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) {
      const rest = threads.length === 0 ? "the main thread prepares batches" : `${threads.length} prepare batches`;
      log(`${count - threads.length} of ${count} data workers did not start (${messageOf(failure.reason)}): ${rest}`);
    }
    return threads.length === 0 ? undefined : new DataThreads(threads);
  }

  get count(): number {
    return this.#threads.length;
  }

  /** Gives a batch to the worker with the least to do. `buffer` is gone here, and comes back with the batch. */
  run(recipe: BatchRecipe, buffer: ArrayBuffer): { readonly job: number; readonly done: Promise<Prepared> } {
    const job = this.#jobs++;
    const [first, ...others] = this.#threads;
    if (first === undefined) throw new Error("no data worker");
    const idlest = others.reduce((least, thread) => (thread.load < least.load ? thread : least), first);
    return { job, done: idlest.run({ job, recipe, buffer }) };
  }

  /** These are wanted no more; workers stop where they are, and send the buffers back. */
  cancel(jobs: readonly number[]): void {
    for (const thread of this.#threads) thread.cancel(jobs);
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }
}

/** Copies that workers share, one for every array however many loaders there are, as long as the array lives. */
const sharedCopies = new WeakMap<Uint8Array | Float32Array, Uint8Array | Float32Array>();

function inSharedMemory(images: MemoryImages): MemoryImages {
  return canShare() ? { ...images, train: shared(images.train), test: shared(images.test) } : images;
}

function shared(pixels: Uint8Array | Float32Array): Uint8Array | Float32Array {
  if (!(pixels.buffer instanceof ArrayBuffer)) return pixels;
  const known = sharedCopies.get(pixels);
  if (known !== undefined) return known;
  const room = sharedBuffer(pixels.byteLength);
  const copy = pixels instanceof Uint8Array ? new Uint8Array(room) : new Float32Array(room);
  copy.set(pixels);
  sharedCopies.set(pixels, copy);
  return copy;
}
