import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ProgressLine } from "./progress.ts";

describe("progress where stderr is no terminal", () => {
  let text = "";
  let now = 0;
  const terminal = Object.getOwnPropertyDescriptor(process.stderr, "isTTY");
  beforeEach(() => {
    text = "";
    now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    Object.defineProperty(process.stderr, "isTTY", { value: false, configurable: true });
  });
  afterEach(() => {
    vi.restoreAllMocks();
    if (terminal === undefined) Reflect.deleteProperty(process.stderr, "isTTY");
    else Object.defineProperty(process.stderr, "isTTY", terminal);
  });

  it("is a plain line every fifteen seconds, and none for what is over before", () => {
    const progress = new ProgressLine(false);
    for (now = 0; now < 40_000; now += 1000) progress.update("Kxx", now, 80_000, "1.2 M pairs/s");
    expect(text).toBe("Kxx  18.8 %  1.2 M pairs/s  ETA 65 s\nKxx  37.5 %  1.2 M pairs/s  ETA 50 s\n");
  });

  it("expects the rest of a phase from what was made since the phase began here", () => {
    const progress = new ProgressLine(false);
    for (now = 0; now < 16_000; now += 1000) progress.update("Kxx", 500_000 + now, 530_000);
    for (; now < 46_000; now += 1000) progress.update("Kxtx", now < 31_000 ? 7 : 8, 107);
    expect(text).toBe("Kxx  97.2 %  ETA 15 s\nKxtx  6.5 %\nKxtx  7.5 %  ETA 47.9 min\n");
  });

  it("is nothing with --quiet", () => {
    const progress = new ProgressLine(true);
    for (now = 0; now < 40_000; now += 1000) progress.update("Kxx", now, 80_000);
    expect(text).toBe("");
  });
});
