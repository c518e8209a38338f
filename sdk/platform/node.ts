/** Node: wasm and worker from the package's own folder, threads from worker_threads, GPUs through Dawn. */
import { readFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { Worker } from "node:worker_threads";
import { explainNoVulkan, findDawnAdapter } from "./adapters.node.ts";
import type { Platform, WorkerHandle } from "./platform.ts";

function asset(name: string): URL {
  return new URL(WIDEFIELD_ASSETS + name, import.meta.url);
}

/** A thread; Deno implements the same module, so its platform shares this. */
export async function startNodeWorker(): Promise<WorkerHandle> {
  // Not the process's own flags: some (--input-type) stop a worker from starting, and V8's hold for all threads anyway.
  const worker = new Worker(asset("worker.js"), { execArgv: [] });
  worker.unref();
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) => worker.on("message", listener),
    onError: (listener) => worker.on("error", listener),
    keepAlive: (on) => {
      if (on) worker.ref();
      else worker.unref();
    },
    terminate: async () => {
      await worker.terminate();
    },
  };
}

export const nodePlatform: Platform = {
  name: "node",
  version: process.versions.node,
  hardwareThreads: availableParallelism(),
  memoryBytes: totalmem(),
  sharedMemory: true,
  compileWasm: async (variant) => WebAssembly.compile(await readFile(asset(`wasm/${variant}.wasm`))),
  startWorker: startNodeWorker,
  findAdapter: findDawnAdapter,
  explainNoAdapter: explainNoVulkan,
};
