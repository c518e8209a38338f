/** The pace of a loop whose work is appended to a queue: the host is never more than one item ahead of it. */

/**
 * Appends every item, and takes the report of each once the one behind it has been appended; so the queue always has work
 * while the host waits. Throws what any of the three throws, with nothing left under way.
 */
export async function oneBehind<Item, Report>(
  items: AsyncIterable<Item>,
  append: (item: Item) => Promise<Report>,
  take: (report: Report) => void | Promise<void>,
): Promise<void> {
  let last: Promise<Report> | undefined;
  try {
    for await (const item of items) {
      const before = last;
      last = append(item);
      // It is waited for below; until then a failure is nobody's.
      last.catch(() => undefined);
      if (before !== undefined) await take(await before);
    }
    if (last !== undefined) await take(await last);
  } finally {
    await last?.catch(() => undefined);
  }
}
