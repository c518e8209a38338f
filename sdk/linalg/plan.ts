/** Where a factorisation keeps its tiles. */

interface CholeskyPlan {
  readonly where: "memory" | "buffers" | "scratch";
}

export function choleskyPlan(n: number, { memoryBytes }: { memoryBytes: number; threads: number }): CholeskyPlan {
  return { where: 4 * n * (n + 1) <= memoryBytes ? "memory" : "scratch" };
}
