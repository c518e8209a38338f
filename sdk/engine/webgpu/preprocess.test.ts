import { describe, expect, it } from "vitest";
import { preprocess, PreprocessError } from "./preprocess.ts";

const none = (name: string): string => {
  throw new Error(`no file ${name}`);
};
const lines = (...text: string[]): string => text.join("\n");

describe("the shader preprocessor", () => {
  it("repeats lines upwards and downwards", () => {
    const source = lines("//# for i in 1 .. N", "a$i", "//# end", "//# for i in N downto 0", "b$i", "//# end");
    expect(preprocess(source, { N: 3 }, none)).toBe(lines("a1", "a2", "b2", "b1", "b0"));
  });
  it("substitutes integer expressions with the usual precedence", () => {
    const source = "$(1 + 2 * N) $((N + 1) / 2 * 2) $(-N % 2 == 0 - 1) $(N > 3 || !(N == 3))";
    expect(preprocess(source, { N: 3 }, none)).toBe("7 4 1 0");
  });
  it("keeps the branch that holds, nested in loops", () => {
    const source = lines(
      "//# for i in 0 .. 4",
      "//# if i == 0",
      "zero",
      "//# elseif i % 2 == 1",
      "odd$i",
      "//# else",
      "even$i",
      "//# end",
      "//# end",
    );
    expect(preprocess(source, {}, none)).toBe(lines("zero", "odd1", "even2", "odd3"));
  });
  it("includes files, and leaves comments alone", () => {
    const include = (name: string): string => `// $unknown\n${name}$N`;
    expect(preprocess("//# include part", { N: 2 }, include)).toBe(lines("// $unknown", "part2"));
  });
  it("refuses what it does not understand, quoting it", () => {
    expect(() => preprocess("//# four i in 0 .. 2", {}, none)).toThrow(/four i in/);
    expect(() => preprocess("//# end", {}, none)).toThrow(PreprocessError);
    expect(() => preprocess("//# if 1", {}, none)).toThrow(/without/);
    expect(() => preprocess("$(N + )", { N: 1 }, none)).toThrow(/N \+/);
    expect(() => preprocess("$M", { N: 1 }, none)).toThrow(/"M"/);
    expect(() => preprocess("$(1 / 0)", {}, none)).toThrow(PreprocessError);
  });
});
