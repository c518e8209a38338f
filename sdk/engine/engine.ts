/**
 * `open()` and the engine it gives: one backend for float32 work, and beside it (opened when first asked for) the wasm
 * backend for float64 work, which every engine has because float64 lives on the CPU.
 */
import * as z from "zod";
import { messageOf, WidefieldError } from "../errors.ts";
import { platform, type FoundAdapter } from "../platform/platform.ts";
import type { Backend, BackendInfo } from "./backend.ts";
import { WasmBackend } from "./wasm/backend.ts";
import { WebGpuBackend } from "./webgpu/backend.ts";

export interface OpenOptions {
  /** "auto" (default): a hardware GPU where there is one, else wasm. */
  readonly backend?: "auto" | "webgpu" | "wasm" | undefined;
  /** Threads of the wasm backend; default: all cores. */
  readonly threads?: number | undefined;
  /** Bytes, or text such as "2GB": a ceiling for what jobs may hold at once; default: half the machine's memory. */
  readonly memory?: number | string | undefined;
  /** Seed of every random stream that is not seeded itself; default 0. */
  readonly seed?: number | undefined;
  /** Part of a GPU's name. A software adapter (SwiftShader, lavapipe) is used only when it is named here. */
  readonly adapter?: string | undefined;
  /** Receives one line for everything worth knowing that is not an error. */
  readonly log?: ((line: string) => void) | undefined;
}

export interface EngineStats {
  /** Allocated now, and their bytes. */
  readonly buffers: number;
  readonly bytes: number;
  /** Since the engine was opened: buffers allocated, kernels dispatched, submits to a GPU. */
  readonly allocations: number;
  readonly dispatches: number;
  readonly submits: number;
}

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of "512MB", "1.5 GiB", "2g" or a plain number; units are powers of 1024. Throws E_CONFIG. */
export function parseBytes(text: number | string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(String(text));
  const bytes = Math.floor(Number(match?.[1]) * (UNITS[(match?.[2] ?? "").toLowerCase()] ?? Number.NaN));
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw new WidefieldError("E_CONFIG", `"${text}" is not an amount of memory: write bytes, or 512MB, 2GB`);
  return bytes;
}

const optionsSchema = z.object({
  backend: z.enum(["auto", "webgpu", "wasm"], "backend is one of auto, webgpu, wasm").default("auto"),
  threads: z
    .int("threads is a whole number")
    .min(1, "threads must be at least 1")
    .max(1024, "threads must be at most 1024")
    .optional(),
  memory: z.union([z.number(), z.string()]).optional(),
  seed: z
    .int("seed is a whole number")
    .min(0, "seed must not be negative")
    .max(2 ** 32 - 1, "seed must be below 2^32")
    .default(0),
  adapter: z.string().min(1, "adapter is part of a GPU's name").optional(),
  log: z.custom<(line: string) => void>((value) => typeof value === "function").optional(),
});

export class Engine {
  readonly memoryBytes: number;
  readonly seed: number;
  readonly threads: number;
  /** Where float32 kernels run. */
  readonly backend: Backend;
  readonly log: (line: string) => void;
  private cpuBackend: Promise<Backend> | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    backend: Backend,
    settings: { memoryBytes: number; seed: number; threads: number; log: (line: string) => void },
  ) {
    this.backend = backend;
    this.memoryBytes = settings.memoryBytes;
    this.seed = settings.seed;
    this.threads = settings.threads;
    this.log = settings.log;
  }

  get info(): BackendInfo {
    return this.backend.info;
  }

  /** The wasm backend, for float64 work; the engine's own where that is wasm. */
  async cpu(): Promise<Backend> {
    this.assertOpen();
    if (this.backend.info.backend === "wasm") return this.backend;
    if (this.cpuBackend === undefined) {
      const opening = WasmBackend.open(platform(), { threads: this.threads, memoryBytes: this.memoryBytes });
      this.cpuBackend = opening;
      // One that could not open is not kept: stats() and close() have nothing to ask it.
      opening.catch(() => (this.cpuBackend = undefined));
    }
    return this.cpuBackend;
  }

  async stats(): Promise<EngineStats> {
    const backends = this.cpuBackend === undefined ? [this.backend] : [this.backend, await this.cpuBackend];
    const each = backends.map((backend) => backend.stats());
    const total = (pick: (stats: (typeof each)[number]) => number) => each.reduce((sum, one) => sum + pick(one), 0);
    return {
      buffers: total(({ slots }) => slots),
      bytes: total(({ bytes }) => bytes),
      allocations: total(({ allocations }) => allocations),
      dispatches: total(({ dispatches }) => dispatches),
      submits: total(({ submits }) => submits),
    };
  }

  assertOpen(): void {
    if (this.closing !== undefined) throw new WidefieldError("E_CLOSED", "the engine is closed");
  }

  /** Releases threads, buffers and the GPU. Whatever was made with this engine is unusable afterwards. Idempotent. */
  close(): Promise<void> {
    this.closing ??= (async () => {
      await this.backend.close();
      if (this.cpuBackend !== undefined) await (await this.cpuBackend).close();
    })();
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The backend that computes in float64, with a line in the log where that is not the engine's own. */
export async function float64Backend(engine: Engine): Promise<Backend> {
  if (engine.info.backend !== "wasm") engine.log("float64 runs on wasm: GPUs have no float64 in WebGPU");
  return engine.cpu();
}

/**
 * Opens an engine.
 *
 * Throws E_CONFIG for options that cannot be meant, E_NO_ADAPTER where a GPU was asked for and none is there (the
 * message says what was looked for), E_MEMORY where the memory is too small to start with.
 */
export async function open(options: OpenOptions = {}): Promise<Engine> {
  const parsed = optionsSchema.safeParse(options);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => issue.message);
    throw new WidefieldError("E_CONFIG", lines.join("; "), { cause: parsed.error });
  }
  const { backend, seed, adapter } = parsed.data;
  const host = platform();
  const threads = parsed.data.threads ?? host.hardwareThreads;
  const memoryBytes =
    parsed.data.memory === undefined
      ? Math.floor((host.memoryBytes ?? 4 * 2 ** 30) / 2)
      : parseBytes(parsed.data.memory);
  const log = parsed.data.log ?? (() => undefined);
  const settings = { memoryBytes, seed, threads, log };

  if (backend !== "wasm") {
    const asked = backend === "webgpu" || adapter !== undefined;
    try {
      const found = await host.findAdapter({ name: adapter, software: false });
      if (found !== undefined) return new Engine(await openGpu(found), settings);
    } catch (thrown) {
      if (asked) throw thrown;
      log(`the GPU cannot be opened, so wasm it is: ${messageOf(thrown)}`);
    }
    if (asked) throw await noAdapter(adapter);
  }
  return new Engine(await WasmBackend.open(host, { threads, memoryBytes }), settings);
}

async function openGpu(found: FoundAdapter): Promise<Backend> {
  try {
    return await WebGpuBackend.open(found);
  } catch (thrown) {
    found.release();
    throw thrown;
  }
}

async function noAdapter(name: string | undefined): Promise<WidefieldError> {
  const wanted = name === undefined ? "no hardware GPU was found" : `no GPU whose name holds "${name}" was found`;
  const lines = await platform().explainNoAdapter();
  return new WidefieldError("E_NO_ADAPTER", [wanted, ...lines.map((line) => `  ${line}`)].join("\n"));
}
