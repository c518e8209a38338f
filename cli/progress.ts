/** One progress bar on stderr, for whatever phase is running. Nothing where stderr is not a terminal, or with --quiet. */
import { Presets, SingleBar } from "cli-progress";

export class ProgressLine {
  private readonly silent: boolean;
  private bar: SingleBar | undefined;
  private label = "";

  constructor(quiet: boolean) {
    this.silent = quiet || !process.stderr.isTTY;
  }

  /** `rate` is text: "1.2 M pairs/s". */
  update(label: string, done: number, total: number, rate = ""): void {
    if (this.silent) return;
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
