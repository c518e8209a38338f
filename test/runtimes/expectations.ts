/** What holds for a session in any runtime. */
import { expect, it } from "vitest";
import { kernels } from "../../sdk/engine/kernels/index.ts";
import type { SessionReport } from "./session.mjs";

/** Declares the tests that every session has to pass; `report` is called when they run. */
export function itKeepsEveryPromise(report: () => SessionReport, adapter: string | RegExp): void {
  it(`runs on ${String(adapter)}`, () => {
    expect(report().info.adapter).toMatch(adapter);
  });

  it("every kernel that the backend has agrees with float64", () => {
    const { offRows, rows, info } = report();
    expect(offRows).toEqual([]);
    const expected = kernels.filter(({ geometry }) => info.backend === "wasm" || geometry !== undefined);
    expect(rows.map(({ kernel }) => kernel)).toEqual(expected.map(({ name }) => name));
  });

  it("batches are the same from workers as from the caller's thread", () => {
    const [own, workers] = report().batches;
    expect([own?.workers, workers?.workers]).toEqual([0, 2]);
    expect(own?.sums).toHaveLength(4);
    expect(workers?.sums).toEqual(own?.sums);
  });

  it("a network learns", () => {
    const { losses } = report().training;
    expect(losses).toHaveLength(3);
    expect(losses.at(-1)).toBeLessThan(losses[0] ?? 0);
  });

  it("nothing is left allocated, and a closed engine says that it is closed", () => {
    expect(report().leaked).toMatchObject({ buffers: 0, bytes: 0 });
    expect(report().afterClose?.code).toBe("E_CLOSED");
    expect([undefined, "E_CLOSED"]).toContain(report().whileClosing?.code);
  });

  it("a GPU that is not there is named, and a software adapter is only taken by name", () => {
    expect(report().noAdapter?.code).toBe("E_NO_ADAPTER");
    expect(report().noAdapter?.message).toContain("no such adapter");
    expect(report().noHardware?.code).toBe("E_NO_ADAPTER");
    expect(report().automatic.backend).toBe("wasm");
  });

  it("zero threads are refused", () => {
    expect(report().badThreads?.code).toBe("E_CONFIG");
  });
}

/** Thread counts other than the session's own gave the session's bits. */
export function itGivesTheSameBitsOnAnyThreads(report: () => SessionReport): void {
  it("gives the same bits on any number of threads", () => {
    expect(report().threads.length).toBeGreaterThan(0);
    for (const { count, info, digests, training } of report().threads) {
      expect(info.threads).toBe(info.adapter === "single" ? 1 : count);
      expect(digests).toEqual(report().digests);
      expect(training).toEqual(report().training);
    }
  });
}
