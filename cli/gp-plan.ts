/** What `widefield gp --plan` prints: a GP experiment's size, time and memory, before it is run. */
import type { GpPlan } from "../sdk/experiments/gp-plan.ts";
import { formatBytes, formatCount, formatDuration, formatRate, table } from "./format.ts";

export function planText(plan: GpPlan, where: string): string {
  return [kernelTable(plan), timeTable(plan, where), memoryTable(plan), ...verdicts(plan)].join("\n\n");
}

function kernelTable({ kernels, total, diskBytes }: GpPlan): string {
  const rows = kernels.map((kernel) => [
    kernel.label,
    `${kernel.rows} x ${kernel.columns}`,
    formatCount(kernel.tiles),
    formatCount(kernel.pairs),
    formatCount(kernel.operations),
    formatBytes(kernel.memoryBytes),
    formatBytes(kernel.diskBytes),
    formatDuration(kernel.seconds),
  ]);
  const operations = kernels.reduce((sum, kernel) => sum + kernel.operations, 0);
  const seconds = kernels.reduce((sum, kernel) => sum + kernel.seconds, 0);
  return table([
    ["kernel", "size", "tiles", "pairs", "operations", "as an array", "on disk", "time"],
    ...rows,
    [
      "all",
      "",
      formatCount(total.tiles),
      formatCount(total.pairs),
      formatCount(operations),
      "",
      formatBytes(diskBytes),
      formatDuration(seconds),
    ],
  ]);
}

function timeTable({ kernels, factor, predictions, total, perPair, rates }: GpPlan, where: string): string {
  const pairs = kernels.reduce((sum, { seconds }) => sum + seconds, 0);
  const source = (measured: boolean) => (measured ? "measured" : "assumed");
  return table([
    ["phase", "operations", "time", "at"],
    [
      "kernels",
      formatCount(total.pairs * perPair.operations),
      formatDuration(pairs),
      `${formatRate(rates.pairsPerSecond, "pairs/s")}, ${source(rates.pairsPerSecondMeasured)}`,
    ],
    [
      "Cholesky",
      formatCount(factor.operations),
      formatDuration(factor.seconds),
      `${rates.gflops.toFixed(1)} GFLOP/s, ${source(rates.gflopsMeasured)}`,
    ],
    ["predictions", formatCount(predictions.operations), formatDuration(predictions.seconds), "measured"],
    ["all", formatCount(total.operations), formatDuration(total.seconds), where],
  ]);
}

function memoryTable({ memory, budgetBytes, machineBytes, fits }: GpPlan): string {
  const names = [...new Set([...memory.stored.phases, ...memory.inMemory.phases].map(({ phase }) => phase))];
  const of = (kind: "inMemory" | "stored", phase: string) => {
    const found = memory[kind].phases.find((each) => each.phase === phase);
    return found === undefined ? "" : formatBytes(found.bytes);
  };
  const yes = (fit: boolean) => (fit ? "yes" : "no");
  return table([
    ["memory", "kernels in memory", "with --store"],
    ...names.map((phase) => [phase, of("inMemory", phase), of("stored", phase)]),
    ["peak", formatBytes(memory.inMemory.peakBytes), formatBytes(memory.stored.peakBytes)],
    [`fits --memory ${formatBytes(budgetBytes)}`, yes(fits.inMemory), yes(fits.stored)],
    [
      machineBytes === undefined ? "fits this machine" : `fits this machine's ${formatBytes(machineBytes)}`,
      yes(fits.machine),
      yes(fits.machineStored),
    ],
  ]);
}

function verdicts({ fits, solver, memory, perPair, diskBytes, budgetBytes }: GpPlan): string[] {
  const lines = [
    `a pair takes ${formatCount(perPair.operations)} operations (${formatCount(perPair.nonlinearities)} nonlinearities) on ` +
      `maps of ${formatBytes(perPair.mapBytes)}`,
  ];
  if (fits.inMemory) lines.push("fits");
  else if (fits.stored) lines.push(`fits only with --store, which takes ${formatBytes(diskBytes)} of disk`);
  else
    lines.push(
      `does not fit --memory ${formatBytes(budgetBytes)}: it takes ${formatBytes(memory.inMemory.peakBytes)}, or ` +
        `${formatBytes(memory.stored.peakBytes)} with --store`,
    );
  const { inMemory, stored } = solver;
  const same = inMemory?.reason === stored?.reason;
  if (inMemory !== undefined) lines.push(`solved${same ? "" : " in memory"} by ${inMemory.reason}`);
  if (stored !== undefined && !same) lines.push(`solved with --store by ${stored.reason}`);
  return [lines.join("\n")];
}
