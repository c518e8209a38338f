/** Plans of factorisations that sizes alone would not lead to: several panels of a small matrix, in buffers or files. */
import { panelRanges, type CholeskyPlan } from "../sdk/linalg/plan.ts";
import { Tiling } from "../sdk/linalg/tiling.ts";

/** A plan with panels of about so many columns of tiles. */
export function planOf(n: number, tile: number, where: CholeskyPlan["where"], columns: number): CholeskyPlan {
  const tiling = new Tiling(n, tile);
  const column = tiling.columnBytes(0, { begin: 0, end: tiling.blocks });
  const panelBytes = where === "memory" ? tiling.totalBytes : columns * column;
  const panels = panelRanges(tiling, panelBytes);
  return {
    where,
    panelBytes,
    streamBytes: where === "memory" ? 0 : column * (1 + (columns % 3)),
    panelColumns: Math.min(n, (panels[0]?.end ?? 0) * tile),
    panels: panels.length,
    memoryBytes: 0,
    scratchBytes: 0,
  };
}
