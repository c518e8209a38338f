/**
 * The float64 micro-kernel, on which all of `assembly/linalg` stands: a 4 x 4 block, stored contiguously,
 *
 *     C[s][v] -= sum over p of S[p][s] V[p][v],    p < depth
 *
 * with V and S strips of four (4 doubles per p; `linalg/tiles.ts` has the layout and its reasons). V's four entries
 * fill two vectors, S's are broadcast: 8 accumulators, which is what V8 keeps in registers. The sum is taken in the
 * order of p and subtracted once, so a result depends on how p was cut into calls (fixed by the tile size) and never on
 * which thread made them.
 */
import { microRelaxed64 } from "./micro64.relaxed";
import { microSimd64 } from "./micro64.simd";

// @ts-ignore: decorator
@inline
export function micro64(depth: i32, v: usize, s: usize, c: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) microRelaxed64(depth, v, s, c);
  else microSimd64(depth, v, s, c);
}
