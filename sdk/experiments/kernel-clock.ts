/** Time and pairs of all kernels that an experiment computes. */
export class KernelClock {
  seconds = 0;
  pairs = 0;

  async time<T>(work: () => Promise<T>, pairsOf: (result: T) => number): Promise<T> {
    const begun = performance.now();
    const result = await work();
    this.seconds += (performance.now() - begun) / 1000;
    this.pairs += pairsOf(result);
    return result;
  }
}
