import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { expect, it } from "vitest";
import { commandLine } from "./command-line.ts";

it("a run's command line is as it was typed where that needs no quotes", () => {
  const words = ["gp", "--train", "0:5000,7", "--out=a/b-1.json", "--memory", "2GB"];
  expect(commandLine(words)).toBe("widefield gp --train 0:5000,7 --out=a/b-1.json --memory 2GB");
  expect(commandLine(["--out", "my run", "it's", ""])).toBe("widefield --out 'my run' 'it'\\''s' ''");
});

it("a shell reads back the words that were typed, whatever they hold", () => {
  const character = fc.constantFrom(...Array.from(" '\"\\$`*?~#&|;<>()[]{}!=\n\tab1-é"));
  const words = fc.array(fc.string({ unit: character }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(words, (typed) => {
      const script = `widefield() { printf '%s\\0' "$@"; }; ${commandLine(typed)}`;
      const read = execFileSync("sh", ["-c", script], { encoding: "utf8" });
      expect(read).toBe(typed.map((word) => `${word}\0`).join(""));
    }),
    { numRuns: 60 },
  );
});
