/**
 * Progress on stderr, for whatever phase is running: a bar on a terminal; elsewhere (a log file, a batch system) a plain
 * line now and then, so that short commands write none. Nothing with --quiet.
 */
import { Presets, SingleBar } from "cli-progress";
import { formatDuration } from "./format.ts";

/** Milliseconds between plain lines, and before the first. */
const LINE_INTERVAL = 15_000;

export class ProgressLine {
  private readonly quiet: boolean;
  private lastLine = performance.now();
  private bar: SingleBar | undefined;
  private label = "";
  /** Of plain lines: what was done when the phase was first heard of. A job that goes on begins with more than nothing. */
  private begun = { label: "", at: 0, done: 0 };

  constructor(quiet: boolean) {
    this.quiet = quiet;
  }

  /** `rate` is text: "1.2 M pairs/s". */
  update(label: string, done: number, total: number, rate = ""): void {
    if (this.quiet) return;
    if (!process.stderr.isTTY) {
      this.plainLine(label, done, total, rate);
      return;
    }
    if (label !== this.label) {
      this.stop();
      this.label = label;
    }
    const text = { label: label.padEnd(12), rate };
    if (this.bar === undefined) {
      this.bar = new SingleBar(
        {
          format: "{label} {bar} {percentage} %  {rate}  ETA {eta_formatted}",
          stream: process.stderr,
          hideCursor: true,
          clearOnComplete: true,
          etaBuffer: 30,
          forceRedraw: true,
        },
        Presets.shades_classic,
      );
      this.bar.start(total, done, text);
    } else {
      this.bar.setTotal(total);
      this.bar.update(done, text);
    }
    if (done >= total) this.stop();
  }

  private plainLine(label: string, done: number, total: number, rate: string): void {
    const now = performance.now();
    if (label !== this.begun.label || done < this.begun.done) this.begun = { label, at: now, done };
    if (now - this.lastLine < LINE_INTERVAL) return;
    this.lastLine = now;
    const share = total > 0 ? `${((100 * done) / total).toFixed(1)} %` : "";
    const made = done - this.begun.done;
    const eta = made > 0 ? `ETA ${formatDuration(((now - this.begun.at) / 1000) * ((total - done) / made))}` : "";
    process.stderr.write(`${[label, share, rate, eta].filter((part) => part !== "").join("  ")}\n`);
  }

  /** A line above the bar. */
  note(line: string): void {
    this.clear();
    process.stderr.write(`${line}\n`);
  }

  /** Removes the bar; the next update draws it again. */
  clear(): void {
    this.stop();
  }

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
    this.label = "";
  }
}
