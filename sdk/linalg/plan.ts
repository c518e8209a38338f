/** Where the factor of a matrix would lie, and what its factorisation would take, before anything is begun. */
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import { tileSize } from "./triangle.ts";

export interface CholeskyPlan {
  /** In WebAssembly's memory, in buffers beside it, or in a scratch file. */
  readonly where: "memory" | "buffers" | "scratch";
  readonly panelColumns: number;
  readonly panels: number;
  /** At its peak, all in all. */
  readonly memoryBytes: number;
  readonly scratchBytes: number;
}

/** What WebAssembly addresses. */
const WASM_BYTES = 2 ** 32 - 65536;
/** A block of the matrix on its way into the factorisation, at both ends; right-hand sides under way. */
const BLOCK_BYTES = 3 * 512 ** 2 * 8;
const RHS_BYTES = 64 * 2 ** 20;

/** Throws E_MEMORY where the budget is below the least that a factorisation of n rows takes. */
export function choleskyPlan(
  n: number,
  options: { readonly memoryBytes: number; readonly threads: number; readonly wasmBytes?: number | undefined },
): CholeskyPlan {
  const [tile, padded] = [tileSize(n), Math.ceil(n / 4) * 4];
  const diagonal = Math.floor(padded / tile) * tile ** 2 + (padded % tile) ** 2;
  const triangle = 4 * (padded ** 2 + diagonal);
  const memoryBytes = triangle + fixedBytes(options.threads) + BLOCK_BYTES;
  if (memoryBytes > options.memoryBytes)
    throw new WidefieldError(
      "E_MEMORY",
      `the factor of ${n} rows takes ${Math.ceil(memoryBytes / 2 ** 20)} MiB, and the budget is ` +
        `${Math.floor(options.memoryBytes / 2 ** 20)} MiB`,
      { details: { neededBytes: memoryBytes, memoryBytes: options.memoryBytes } },
    );
  const { wasmBytes = WASM_BYTES } = options;
  const where = triangle + fixedBytes(options.threads) + BLOCK_BYTES / 3 + RHS_BYTES > wasmBytes ? "buffers" : "memory";
  return { where, panelColumns: padded, panels: 1, memoryBytes, scratchBytes: 0 };
}
