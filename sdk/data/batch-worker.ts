/**
 * The body of a thread that prepares batches: it is given the images (or learns that they are in files) once, then
 * batches to fill, one buffer each, which it sends back full.
 */
import { messageOf, WidefieldError, type ErrorCode } from "../errors.ts";
import type { FileImages, MemoryImages } from "./batch-source.ts";
import { readFileFromDisk } from "./files.ts";
import { BatchPreparer, type BatchRecipe, type UnusableImage } from "./prepare.ts";

/** First of all messages to a worker. */
export interface DataWorkerStart {
  readonly images: MemoryImages | FileImages;
}

/** A batch to prepare. */
export interface DataWorkerJob {
  readonly job: number;
  readonly recipe: BatchRecipe;
  /** Room for the images; moves there and back. */
  readonly buffer: ArrayBuffer;
}

/** Nobody waits for these any more. */
export interface DataWorkerCancel {
  readonly cancel: readonly number[];
}

export type DataWorkerMessage = DataWorkerStart | DataWorkerJob | DataWorkerCancel;

/** What an error is, between threads. */
export interface ErrorFacts {
  /** Undefined: a bug, not a WidefieldError. */
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** `ready` once, then one answer to every job, cancelled or not. */
export type DataWorkerReport =
  | { readonly ready: true }
  | { readonly job: number; readonly buffer: ArrayBuffer; readonly bad: readonly UnusableImage[] }
  | { readonly job: number; readonly buffer: ArrayBuffer; readonly error: ErrorFacts };

interface Port {
  post(message: DataWorkerReport, transfer?: ArrayBuffer[]): void;
  listen(listener: (message: DataWorkerMessage) => void): void;
}

interface WebWorkerScope {
  postMessage(message: DataWorkerReport, transfer: ArrayBuffer[]): void;
  onmessage: ((event: { readonly data: DataWorkerMessage }) => void) | null;
}

async function openPort(): Promise<Port> {
  if ("postMessage" in globalThis) {
    const scope = globalThis as unknown as WebWorkerScope;
    return {
      post: (message, transfer = []) => scope.postMessage(message, transfer),
      listen: (listener) => {
        scope.onmessage = (event) => listener(event.data);
      },
    };
  }
  const { parentPort } = await import("node:worker_threads");
  if (parentPort === null) throw new Error("batch-worker.js runs inside a worker");
  return {
    post: (message, transfer = []) => parentPort.postMessage(message, transfer),
    listen: (listener) => parentPort.on("message", listener),
  };
}

/** From the disk, or from an address: a page has no other files. */
async function readImageFile(path: string): Promise<Uint8Array | undefined> {
  if (!/^(https?|blob|data):/.test(path)) return readFileFromDisk(path);
  const response = await fetch(path);
  if (response.status === 404) return undefined;
  if (!response.ok) throw new WidefieldError("E_IO", `cannot read ${path}: the server answers ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

function factsOf(thrown: unknown): ErrorFacts {
  const known = thrown instanceof WidefieldError ? thrown : undefined;
  return { code: known?.code, message: messageOf(thrown), details: known?.details ?? {} };
}

/** Jobs are done one after the other, in the order in which they came. */
class DataWorker {
  readonly #port: Port;
  #preparer: BatchPreparer | undefined;
  readonly #waiting: DataWorkerJob[] = [];
  readonly #cancelled = new Set<number>();
  #working = false;

  constructor(port: Port) {
    this.#port = port;
  }

  take(message: DataWorkerMessage): void {
    if ("images" in message) {
      this.#preparer = new BatchPreparer(message.images, readImageFile);
      this.#port.post({ ready: true });
    } else if ("cancel" in message) {
      for (const job of message.cancel) this.#cancelled.add(job);
    } else {
      this.#waiting.push(message);
      if (!this.#working) void this.#work();
    }
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const { job, buffer } = next;
      const report = await this.#answer(next);
      this.#cancelled.delete(job);
      this.#port.post(report, [buffer]);
      // Between two batches, a cancellation that has arrived is heard.
      await new Promise((resolve) => setTimeout(resolve));
    }
    this.#working = false;
  }

  async #answer({ job, recipe, buffer }: DataWorkerJob): Promise<DataWorkerReport> {
    const isCancelled = () => this.#cancelled.has(job);
    if (isCancelled()) return { job, buffer, bad: [] };
    try {
      if (this.#preparer === undefined) throw new Error("a batch was asked for before the images were given");
      return { job, buffer, bad: await this.#preparer.prepare(recipe, new Float32Array(buffer), isCancelled) };
    } catch (thrown) {
      return { job, buffer, error: factsOf(thrown) };
    }
  }
}

const port = await openPort();
const worker = new DataWorker(port);
port.listen((message) => worker.take(message));
