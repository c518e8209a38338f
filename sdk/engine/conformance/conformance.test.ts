/** The suite on every wasm build, and what it promises about itself. */
import { describe, expect, it } from "vitest";
import { openWasm, wasmConfigurations } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { kernels } from "../kernels/index.ts";
import { rows, runConformance, type RowResult } from "./conformance.ts";

/** What every runtime's test asserts: so a failure shows kernel, case and error. */
export function offRows(results: readonly RowResult[]): string[] {
  return results
    .filter(({ ok }) => !ok)
    .map(({ kernel, worstCase, maxError, tolerance }) => `${kernel}: ${maxError} > ${tolerance} in ${worstCase}`);
}

describe("the conformance suite", () => {
  it("has one row for every registered kernel, and no other", () => {
    expect(rows.map(({ kernel }) => kernel.name).sort()).toEqual(kernels.map(({ name }) => name).sort());
  });

  it("says what each tolerance is relative to, and why no correct kernel exceeds it", () => {
    for (const { measure, reason } of rows) {
      expect(measure).not.toBe("");
      expect(reason).not.toBe("");
    }
  });
});
