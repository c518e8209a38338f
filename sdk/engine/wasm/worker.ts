/**
 * The body of a wasm thread. It never returns to its event loop: it walks the ring inside wasm, comes out only to
 * report a fence, and ends with the stop flag.
 */

export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: number;
  readonly ring: number;
  readonly threads: number;
  readonly scratch: number;
}

/** `ready` once; then the count of commands passed at every fence; then nothing, or one `error`. */
export type WorkerReport = { readonly ready: true } | { readonly passed: number } | { readonly error: string };

interface Port {
  postMessage(message: WorkerReport): void;
  once(listener: (message: WorkerStart) => void): void;
}

interface WebWorkerScope {
  postMessage(message: WorkerReport): void;
  onmessage: ((event: { readonly data: WorkerStart }) => void) | null;
}

async function openPort(): Promise<Port> {
  if ("postMessage" in globalThis) {
    const scope = globalThis as unknown as WebWorkerScope;
    return {
      postMessage: (message) => scope.postMessage(message),
      once: (listener) => {
        scope.onmessage = (event) => listener(event.data);
      },
    };
  }
  const { parentPort } = await import("node:worker_threads");
  if (parentPort === null) throw new Error("worker.js runs inside a worker");
  return {
    postMessage: (message) => parentPort.postMessage(message),
    once: (listener) => parentPort.once("message", listener),
  };
}

function walkRing(port: Port, { module, memory, control, ring, threads, scratch }: WorkerStart): void {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const work = instance.exports["work"] as (control: number, ring: number, threads: number, scratch: number) => number;
  port.postMessage({ ready: true });
  for (;;) {
    const passed = work(control, ring, threads, scratch);
    if (passed < 0) return;
    port.postMessage({ passed });
  }
}

const port = await openPort();
port.once((start) => {
  try {
    walkRing(port, start);
  } catch (thrown) {
    port.postMessage({ error: thrown instanceof Error ? thrown.message : String(thrown) });
  }
});
