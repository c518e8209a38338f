import type { BackendInfo } from "../../sdk/engine/backend.ts";
import type * as Conformance from "../../sdk/engine/conformance/conformance.ts";
import type { EngineStats, OpenOptions } from "../../sdk/engine/engine.ts";
import type * as Widefield from "../../sdk/index.ts";

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

export interface SessionOptions extends OpenOptions {
  /** Further thread counts, whose bits are compared. */
  readonly threadCounts?: readonly number[];
  /** Only these kernels. */
  readonly kernels?: readonly string[];
}

/** What a few epochs of a small network come to. */
export interface TrainingReport {
  readonly losses: readonly number[];
  /** Check sum of the weights. */
  readonly weights: number;
}

export interface SessionReport {
  readonly info: BackendInfo;
  readonly rows: readonly Conformance.RowResult[];
  /** "kernel hash", one a kernel. */
  readonly digests: readonly string[];
  /** Check sums of the same batches, from the caller's thread and from two workers. */
  readonly batches: readonly { readonly workers: number; readonly sums: readonly number[] }[];
  readonly training: TrainingReport;
  /** After all this, before close(). */
  readonly leaked: EngineStats;
  /** What finish() came to that was waiting when the engine closed, and one that came later. */
  readonly whileClosing: Refusal | undefined;
  readonly afterClose: Refusal | undefined;
  readonly threads: readonly {
    readonly count: number;
    readonly info: BackendInfo;
    readonly digests: readonly string[];
    readonly training: TrainingReport;
  }[];
  /** open() with an adapter's name that none has, and with "webgpu" and no name. */
  readonly noAdapter: Refusal | undefined;
  readonly noHardware: Refusal | undefined;
  /** What open() took by itself. */
  readonly automatic: BackendInfo;
  readonly badThreads: Refusal | undefined;
  readonly hasRelaxedSimd: boolean;
  readonly offRows: readonly string[];
}

export function session(
  widefield: typeof Widefield,
  conformance: typeof Conformance,
  options: SessionOptions,
): Promise<SessionReport>;
