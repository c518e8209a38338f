/** Keeps asynchronous work in the order in which it was asked for. */
export class Turns {
  /** Resolves, and never rejects, when the last turn so far has ended. */
  private last: Promise<unknown> = Promise.resolve();
  private open = 0;

  /** Runs `work` when all before it has ended, well or not: at once where nothing is under way. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = async (): Promise<T> => {
      try {
        return await work();
      } finally {
        this.open--;
      }
    };
    const ended = this.open++ === 0 ? turn() : this.last.then(turn);
    this.last = ended.catch(() => undefined);
    return ended;
  }

  /** The same for work that waits for nothing; throws what it throws where nothing is under way. */
  order(work: () => void): void {
    if (this.open === 0) work();
    // A backend that has failed says so to whoever waits for something, and does so again.
    else this.take(async () => work()).catch(() => undefined);
  }
}
