/** Browsers: everything is inside the one file of the bundle, so a page serves nothing else. */
import { batchWorkerSource, wasm, workerSource } from "virtual:assets";
import { findNavigatorAdapter } from "./adapters.ts";
import type { Platform, WorkerHandle, WorkerKind } from "./platform.ts";

function decode(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

const SOURCES: Readonly<Record<WorkerKind, string>> = { queue: workerSource, data: batchWorkerSource };

async function startWorker(kind: WorkerKind = "queue"): Promise<WorkerHandle> {
  const url = URL.createObjectURL(new Blob([SOURCES[kind]], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module", name: "widefield" });
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    onMessage: (listener) => worker.addEventListener("message", (event: MessageEvent<unknown>) => listener(event.data)),
    onError: (listener) =>
      worker.addEventListener("error", (event) => listener(new Error(event.message || "the worker could not start"))),
    keepAlive: () => undefined,
    terminate: async () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}

export const browserPlatform: Platform = {
  name: "browser",
  version: navigator.userAgent,
  hardwareThreads: navigator.hardwareConcurrency,
  memoryBytes: undefined,
  sharedMemory: globalThis.crossOriginIsolated && typeof SharedArrayBuffer !== "undefined",
  compileWasm: async (variant) => {
    const base64 = wasm[variant];
    if (base64 === undefined) throw new Error(`this bundle was built without the wasm build "${variant}"`);
    return WebAssembly.compile(decode(base64));
  },
  startWorker,
  findAdapter: findNavigatorAdapter,
  explainNoAdapter: async () => [
    "navigator.gpu gave no adapter: the page must be served from https or localhost, in a browser with WebGPU enabled",
  ],
};
