import type { BackendInfo } from "../../sdk/engine/backend.ts";
import type * as Conformance from "../../sdk/engine/conformance/conformance.ts";
import type { EngineStats, open, OpenOptions } from "../../sdk/engine/engine.ts";

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

export interface SessionReport {
  readonly info: BackendInfo;
  readonly rows: readonly Conformance.RowResult[];
  /** "kernel hash", one a kernel. */
  readonly digests: readonly string[];
  /** After the suite, before close(). */
  readonly leaked: EngineStats;
  /** What finish() came to that was waiting when the engine closed, and one that came later. */
  readonly whileClosing: Refusal | undefined;
  readonly afterClose: Refusal | undefined;
  readonly threads: readonly {
    readonly count: number;
    readonly info: BackendInfo;
    readonly digests: readonly string[];
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
  widefield: { open: typeof open },
  conformance: typeof Conformance,
  options: SessionOptions,
): Promise<SessionReport>;
