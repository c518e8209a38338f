/** Pauses of long loops on the calling thread: without them no signal to stop, and no Ctrl-C, would ever arrive. */

/** Milliseconds of work between two pauses. */
const BREATH = 30;

export class Breath {
  private next = performance.now() + BREATH;

  /** Lets the event loop run, if it has waited for long. True if it did. */
  async take(): Promise<boolean> {
    if (performance.now() < this.next) return false;
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.next = performance.now() + BREATH;
    return true;
  }
}
