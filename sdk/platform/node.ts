/** Node: wasm and worker from the package's own folder, threads from worker_threads, GPUs through Dawn. */
import { readFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { Worker } from "node:worker_threads";
import { explainNoVulkan, findDawnAdapter } from "./adapters.node.ts";
import type { Platform, WorkerHandle, WorkerKind } from "./platform.ts";

function asset(name: string): URL {
  return new URL(WIDEFIELD_ASSETS + name, import.meta.url);
}

const WORKERS: Readonly<Record<WorkerKind, string>> = { queue: "worker.js", data: "batch-worker.js" };

/** A thread; Deno implements the same module, so its platform shares this. */
export async function startNodeWorker(kind: WorkerKind = "queue"): Promise<WorkerHandle> {
  // Not the process's own flags: some (--input-type) stop a worker from starting, and V8's hold for all threads anyway.
  const worker = new Worker(asset(WORKERS[kind]), { execArgv: [] });
  worker.unref();
  let terminated = false;
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    onMessage: (listener) => worker.on("message", listener),
    onError: (listener) => {
      worker.on("error", listener);
      // After an exception the listener has heard of it already, and what it does then it does once.
      worker.on("exit", (code) => {
        if (code !== 0 && !terminated) listener(new Error(`the thread ended with exit code ${code}`));
      });
    },
    keepAlive: (on) => {
      if (on) worker.ref();
      else worker.unref();
    },
    terminate: async () => {
      terminated = true;
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
