/** What the README says of things that can be counted. */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { targetRuleTable } from "../sdk/tensor/target-rules.ts";

describe("README", () => {
  it("has the table of target rules as it is", async () => {
    const text = await readFile(new URL("../README.md", import.meta.url), "utf8");
    const cells = text.split("\n").map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("\\|", "|")),
    );
    const rules = targetRuleTable();
    expect(rules.length).toBe(25);
    for (const { name, loss, activations, allowsNoGradScale } of rules) {
      const rows = cells.filter(([first]) => first === name);
      expect(rows, name).toEqual([[name, loss, activations.join(", "), allowsNoGradScale ? "yes" : "no"]]);
    }
  });
});
