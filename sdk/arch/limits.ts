/** How large an architecture may be: enough for any network that somebody could want, and no program that never ends. */
import { WidefieldError } from "../errors.ts";

/** Layers, those of a `repeat` as often as they are repeated. */
export const MOST_LAYERS = 100_000;
/** Layers inside of one another. */
export const DEEPEST = 500;

/**
 * Throws E_CONFIG for an architecture, or the JSON form of one, that is too large or too deep. Both are walked alike: all
 * that matters here is `layers`, `layer` and `times`, whose meaning is checked elsewhere. Nothing recurses.
 */
export function requireModest(architecture: unknown, path: string): void {
  const open: { layer: unknown; times: number; depth: number }[] = [{ layer: architecture, times: 1, depth: 0 }];
  let count = 0;
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { layer, times, depth } = next;
    count += times;
    if (count > MOST_LAYERS)
      throw new WidefieldError(
        "E_CONFIG",
        `${path} has more than ${MOST_LAYERS} layers, those of every repeat counted as often as it repeats them`,
        { details: { path } },
      );
    if (depth > DEEPEST)
      throw new WidefieldError("E_CONFIG", `${path} has layers inside of layers more than ${DEEPEST} deep`, {
        details: { path },
      });
    if (typeof layer !== "object" || layer === null) continue;
    if ("layers" in layer && Array.isArray(layer.layers))
      for (const inner of layer.layers as unknown[]) open.push({ layer: inner, times, depth: depth + 1 });
    const repeats = "times" in layer && typeof layer.times === "number" && layer.times > 1 ? layer.times : 1;
    if ("layer" in layer) open.push({ layer: layer.layer, times: times * repeats, depth: depth + 1 });
  }
}
