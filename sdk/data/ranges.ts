/**
 * Index ranges: which images of a dataset. A range is half-open; a list of them keeps its order, because the rows of a
 * kernel matrix follow it. As text: `55000:60000,0:5000`, where a missing start is 0 and a missing end is the
 * dataset's size.
 */
import { WidefieldError } from "../errors.ts";

/** The indices start, start + 1, ..., end - 1. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export type Ranges = readonly Range[];

/**
 * Reads a list of ranges over a dataset of `count` images.
 *
 * @param name what the ranges select ("train", "--rows"), for messages
 * @throws WidefieldError E_RANGE: malformed, empty, reversed, out of bounds, or overlapping within the list
 */
export function parseRanges(text: string, count: number, name = "range"): Ranges {
  const ranges = text.split(",").map((part): Range => {
    const match = /^\s*(\d*)\s*:\s*(\d*)\s*$/.exec(part);
    if (match === null) {
      const single = /^\s*(\d+)\s*$/.exec(part)?.[1];
      const hint =
        single === undefined
          ? "write start:end, or several with commas between"
          : `for that one image write ${single}:${Number(single) + 1}`;
      throw refusal(name, text, `"${part.trim()}" is not a range`, hint, count);
    }
    const [, start, end] = match;
    return { start: Number(start ?? 0), end: end === undefined || end === "" ? count : Number(end) };
  });
  return checkRanges(ranges, count, name);
}

/**
 * Refuses what `parseRanges` refuses, for ranges that did not come as text. Returns them.
 *
 * @throws WidefieldError E_RANGE
 */
export function checkRanges(ranges: Ranges, count: number, name = "range"): Ranges {
  const text = formatRanges(ranges);
  if (ranges.length === 0) throw refusal(name, text, "it selects nothing", "give at least one range", count);
  for (const range of ranges) {
    const { start, end } = range;
    const one = formatRanges([range]);
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end)) {
      throw refusal(name, text, `${one} has bounds that are not integers`, "write start:end", count);
    }
    if (start < 0 || start > count || end > count) {
      throw refusal(name, text, `${one} is out of bounds`, count === 0 ? "there are no images" : "", count);
    }
    if (start > end) throw refusal(name, text, `${one} is reversed`, `write ${end}:${start}`, count);
    if (start === end) throw refusal(name, text, `${one} is empty`, "its end must be above its start", count);
  }
  const sorted = [...ranges].sort((a, b) => a.start - b.start);
  sorted.forEach((range, i) => {
    const before = sorted[i - 1];
    if (before === undefined || before.end <= range.start) return;
    const problem = `${formatRanges([before])} and ${formatRanges([range])} overlap`;
    throw refusal(name, text, problem, "an image may be listed once", count);
  });
  return ranges;
}

function refusal(name: string, text: string, problem: string, hint: string, count: number): WidefieldError {
  const parts = [`${name} "${text}": ${problem}`, hint, `valid bounds are 0:${count}`];
  return new WidefieldError("E_RANGE", parts.filter((part) => part !== "").join("; "), {
    details: { name, text, bounds: { start: 0, end: count } },
  });
}

/** The text that `parseRanges` reads back to the same list. */
export function formatRanges(ranges: Ranges): string {
  return ranges.map(({ start, end }) => `${start}:${end}`).join(",");
}

/** Number of images in the list. */
export function countOf(ranges: Ranges): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** Every index of the list, in its order. */
export function indicesOf(ranges: Ranges): Uint32Array<ArrayBuffer> {
  const indices = new Uint32Array(countOf(ranges));
  let next = 0;
  for (const { start, end } of ranges) for (let index = start; index < end; index++) indices[next++] = index;
  return indices;
}

/** The indices that are in both lists, as ascending ranges; empty when there are none. */
export function overlap(a: Ranges, b: Ranges): Ranges {
  const shared = a.flatMap((left) =>
    b.map((right) => ({ start: Math.max(left.start, right.start), end: Math.min(left.end, right.end) })),
  );
  return shared.filter(({ start, end }) => start < end).sort((left, right) => left.start - right.start);
}
