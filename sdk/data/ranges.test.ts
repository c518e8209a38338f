import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkRanges, countOf, formatRanges, indicesOf, overlap, parseRanges, type Ranges } from "./ranges.ts";

/** Disjoint, non-empty ranges in any order, below `count`. */
const lists = fc
  .tuple(fc.uniqueArray(fc.integer({ min: 0, max: 200 }), { minLength: 2, maxLength: 12 }), fc.integer())
  .map(([cuts, seed]): Ranges => {
    const sorted = [...cuts].sort((a, b) => a - b);
    const ranges = sorted.slice(1).map((end, i) => ({ start: sorted[i] ?? NaN, end }));
    const turned = ((seed % ranges.length) + ranges.length) % ranges.length;
    return [...ranges.slice(turned), ...ranges.slice(0, turned)];
  });

describe("index ranges", () => {
  it("are half-open and keep the order in which they are listed", () => {
    expect(parseRanges("55000:60000,0:5000", 70_000)).toEqual([
      { start: 55_000, end: 60_000 },
      { start: 0, end: 5000 },
    ]);
    expect([...indicesOf(parseRanges("5:7, 0:3", 10))]).toEqual([5, 6, 0, 1, 2]);
  });

  it("may leave out a start, which is 0, and an end, which is the number of images", () => {
    expect(parseRanges("5000:", 70_000)).toEqual([{ start: 5000, end: 70_000 }]);
    expect(parseRanges(":100", 70_000)).toEqual([{ start: 0, end: 100 }]);
    expect(parseRanges(":", 7)).toEqual([{ start: 0, end: 7 }]);
  });

  it.each([
    ["0:70001", /0:70001 is out of bounds; valid bounds are 0:70000/],
    ["80000:", /80000:70000 is out of bounds/],
    ["5:5", /5:5 is empty.*0:70000/],
    ["70000:", /70000:70000 is empty/],
    ["10:3", /10:3 is reversed; write 3:10.*0:70000/],
    ["", /"" is not a range; write start:end/],
    ["0:5,", /"" is not a range/],
    ["a:b", /"a:b" is not a range/],
    ["1:2:3", /"1:2:3" is not a range/],
    ["-5:10", /"-5:10" is not a range/],
    ["1.5:3", /"1.5:3" is not a range/],
    ["0x10:20", /is not a range/],
    ["1e3:2e3", /is not a range/],
    ["17", /"17" is not a range; for that one image write 17:18/],
    ["0:100,50:150", /0:100 and 50:150 overlap/],
    ["50:150,0:100,200:300", /0:100 and 50:150 overlap/],
    ["3:4,3:4", /3:4 and 3:4 overlap/],
    ["0:99999999999999999999", /not integers|out of bounds/],
  ])("refuse %j, naming the valid bounds", (text, message) => {
    expect(() => parseRanges(text, 70_000, "train")).toThrow(message);
    expect(() => parseRanges(text, 70_000, "train")).toThrow(/^train ".*0:70000/);
    expect(() => parseRanges(text, 70_000)).toThrow(
      expect.objectContaining({ name: "WidefieldError", code: "E_RANGE" }) as Error,
    );
  });

  it("are checked too where they do not come as text", () => {
    expect(() => checkRanges([], 5)).toThrow(/selects nothing/);
    expect(() => checkRanges([{ start: 0.5, end: 2 }], 5)).toThrow(/not integers/);
    expect(() => checkRanges([{ start: -1, end: 2 }], 5)).toThrow(/out of bounds/);
    expect(() => parseRanges(":", 0)).toThrow(/0:0 is empty/);
    expect(() => parseRanges("0:1", 0)).toThrow(/there are no images/);
  });

  it("are read back from their text, for any list", () => {
    fc.assert(
      fc.property(lists, (ranges) => {
        expect(parseRanges(formatRanges(ranges), 201)).toEqual(ranges);
      }),
    );
  });

  it("have as many indices as their count, none twice", () => {
    fc.assert(
      fc.property(lists, (ranges) => {
        const indices = [...indicesOf(ranges)];
        expect(indices.length).toBe(countOf(ranges));
        expect(new Set(indices).size).toBe(indices.length);
      }),
    );
  });

  it("overlap in the indices that both lists have", () => {
    fc.assert(
      fc.property(lists, lists, (a, b) => {
        const inB = new Set(indicesOf(b));
        const both = [...indicesOf(a)].filter((index) => inB.has(index)).sort((x, y) => x - y);
        expect([...indicesOf(overlap(a, b))]).toEqual(both);
      }),
    );
    expect(overlap([{ start: 0, end: 5 }], [{ start: 5, end: 9 }])).toEqual([]);
  });
});
