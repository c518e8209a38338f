import { expect, it } from "vitest";
import { WidefieldError } from "../../errors.ts";
import { lastOf } from "./recent.ts";

const engine = {};

it("one caller who is stopped stops no other who waits for the same result; other failures are both callers'", async () => {
  for (const code of ["E_ABORTED", "E_MEMORY"] as const) {
    let fail: (thrown: Error) => void = () => undefined;
    const first = lastOf(engine, "kind", code, () => new Promise<number>((_, reject) => (fail = reject)));
    let made = 0;
    const others = [1, 2].map(() => lastOf(engine, "kind", code, async () => ++made));
    fail(new WidefieldError(code, "stopped"));
    await expect(first).rejects.toMatchObject({ code });
    if (code === "E_ABORTED") expect(await Promise.all(others)).toEqual([1, 1]);
    else for (const other of others) await expect(other).rejects.toMatchObject({ code });
    // What was made is remembered.
    expect(await lastOf(engine, "kind", code, async () => 10)).toBe(code === "E_ABORTED" ? 1 : 10);
  }
});
