/**
 * What the engine asks of the runtime it stands on. Node, Deno and browsers each have one file beside this one; each
 * entry point of the package installs its own before anything else runs.
 */

export type WasmVariant = "threads" | "single" | "relaxed";

/** What a worker runs: "queue": `sdk/engine/wasm/worker.ts`; "data": `sdk/data/batch-worker.ts`. */
export type WorkerKind = "queue" | "data";

/** A thread. */
export interface WorkerHandle {
  /** `transfer`: buffers of the message that the thread gets, and that are gone here. */
  post(message: unknown, transfer?: ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  /** A crash: an exception that left the worker, or its sudden end. */
  onError(listener: (error: Error) => void): void;
  /** Whether this thread alone keeps the process from ending. */
  keepAlive(on: boolean): void;
  terminate(): Promise<void>;
}

export interface AdapterRequest {
  /** Part of an adapter's name, case-insensitive; software adapters are only taken when named or with `software`. */
  readonly name?: string | undefined;
  /** True: a software adapter (SwiftShader, lavapipe) will do. */
  readonly software: boolean;
}

export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  readonly name: string;
  readonly software: boolean;
  /** Keeps whatever must outlive the adapter (in Node: Dawn's instance), and releases it. */
  release(): void;
}

export interface Platform {
  readonly name: "node" | "deno" | "browser";
  /** "20.20.2", "2.9.6", a browser's user agent. */
  readonly version: string;
  readonly hardwareThreads: number;
  /** Total memory of the machine in bytes, where the runtime tells. */
  readonly memoryBytes: number | undefined;
  /** True where a SharedArrayBuffer can be sent to a worker. */
  readonly sharedMemory: boolean;
  compileWasm(variant: WasmVariant): Promise<WebAssembly.Module>;
  /** `kind`: default "queue". */
  startWorker(kind?: WorkerKind): Promise<WorkerHandle>;
  /** Undefined when there is no such adapter. */
  findAdapter(request: AdapterRequest): Promise<FoundAdapter | undefined>;
  /** What was looked for and not found, line by line: loader library, ICD files, drivers, and what to install. */
  explainNoAdapter(): Promise<string[]>;
}

let installed: Platform | undefined;

export function installPlatform(platform: Platform): void {
  installed = platform;
}

export function platform(): Platform {
  if (installed === undefined) throw new Error("no platform installed: import widefield through its entry points");
  return installed;
}
