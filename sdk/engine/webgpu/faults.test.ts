/** Faults that no test can provoke on a real adapter without exhausting the machine: a device that plays them. */
import { describe, expect, it } from "vitest";
import { Faults } from "./faults.ts";

/** A device whose error scopes catch `caught[filter]`, once. */
function deviceThatCatches(caught: Partial<Record<GPUErrorFilter, string>>): GPUDevice {
  const scopes: GPUErrorFilter[] = [];
  return {
    addEventListener: () => undefined,
    lost: new Promise(() => undefined),
    pushErrorScope: (filter: GPUErrorFilter) => scopes.push(filter),
    popErrorScope: async () => {
      const message = caught[scopes.pop() ?? "validation"];
      return message === undefined ? null : { message };
    },
  } as unknown as GPUDevice;
}

describe("faults", () => {
  const work = (faults: Faults): Promise<void> => {
    faults.scoped("allocating 64 bytes for table", [], () => undefined);
    return faults.settle(Promise.resolve());
  };
  it("running out of memory is E_MEMORY, names the buffer and its size, and is told once", async () => {
    const faults = new Faults(deviceThatCatches({ "out-of-memory": "no more" }), "some GPU");
    await expect(work(faults)).rejects.toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(
        /some GPU: allocating 64 bytes for table failed: no more.*smaller tiles/,
      ) as string,
    });
    await faults.settle(Promise.resolve());
  });
  it("internal and validation errors are E_DEVICE", async () => {
    for (const filter of ["internal", "validation"] as const) {
      const faults = new Faults(deviceThatCatches({ [filter]: "broken" }), "some GPU");
      await expect(work(faults)).rejects.toMatchObject({ code: "E_DEVICE" });
    }
  });
});
