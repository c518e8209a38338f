/** How jobs work out the memory that they cannot do without. */

/**
 * The smallest budget for which `needed(budget) <= budget`. What is needed may grow with the budget (caches take a part
 * of it), but more slowly.
 */
export function smallestBudget(needed: (memoryBytes: number) => number): number {
  let budget = needed(0);
  for (let more = needed(budget); more > budget; more = needed(budget)) budget = more;
  return budget;
}
