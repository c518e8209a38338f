import type { Engine } from "../engine/engine.ts";
import type { ClosedKernel } from "./closed-kernel.ts";
import type { SizedTiles } from "./kernel-tiles.ts";
export async function closedTiles(
  _engine: Engine,
  _kernel: ClosedKernel,
  ..._rest: readonly unknown[]
): Promise<SizedTiles> {
  throw new Error("not merged");
}
