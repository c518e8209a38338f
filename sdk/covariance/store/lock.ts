/**
 * Locks: at most one live process works on a shard. A lock is a file that says who holds it. It spares work, the bytes
 * do not depend on it: two processes that did compute the same tile would write the same file, each by a rename.
 *
 * A lock whose process has died is taken over. The race in that: A and B both find the dead lock, B replaces it, and A,
 * late, replaces B's living one. So every lock carries a token of its own, and only the holder of a second lock, named
 * after the dead one's token, may replace it: it looks again, and while it holds that second lock nobody else may touch
 * the dead one. The second lock is taken by the same rules, so one left by a process that died here does no harm.
 */
import * as z from "zod";
import { WidefieldError } from "../../errors.ts";
import { type Files, createFile, readSettled, replaceFile } from "../../platform/files.ts";
import type { Shard } from "./grid.ts";

const contentSchema = z.object({
  host: z.string(),
  pid: z.int(),
  startTime: z.int().optional(),
  bootId: z.string().optional(),
  token: z.string().regex(/^[0-9a-f-]+$/),
  since: z.string(),
});
type Content = z.infer<typeof contentSchema>;

export interface Lock {
  /** Removes the lock if it is still this one. */
  release(): Promise<void>;
}

const shardLock = /^\.shard-(?<index>\d+)-of-(?<count>\d+)\.lock$/;

/**
 * Locks one shard of the store in `folder`. Throws E_LOCKED, with the holder's pid and host, where another process
 * works on this shard, or on a shard of another division, which would overlap with it.
 */
export async function lockShard(files: Files, folder: string, shard: Shard): Promise<Lock> {
  const file = `.shard-${shard.index}-of-${shard.count}.lock`;
  const lock = await acquire(files, `${folder}/${file}`);
  try {
    // After our own lock is up: of two processes with different divisions, at least the later one sees the other.
    for (const name of await files.list(folder)) {
      // Second locks are about locks that ours has replaced: nobody can gain anything by one any more.
      if (name.startsWith(`${file}.`) && name.endsWith(".takeover")) await files.remove(`${folder}/${name}`);
      const other = shardLock.exec(name)?.groups;
      if (other === undefined || Number(other["count"]) === shard.count) continue;
      const holder = await read(files, `${folder}/${name}`);
      if (holder !== undefined && (await files.livenessOf(holder)) !== "dead")
        throw locked(`${folder}/${name}`, holder);
    }
  } catch (error) {
    await lock.release();
    throw error;
  }
  return lock;
}

async function acquire(files: Files, path: string): Promise<Lock> {
  const mine: Content = { ...files.self, token: crypto.randomUUID(), since: new Date().toISOString() };
  const bytes = new TextEncoder().encode(`${JSON.stringify(mine)}\n`);
  for (;;) {
    if (await createFile(files, path, bytes)) break;
    const holder = await read(files, path);
    if (holder === undefined) continue;
    if ((await files.livenessOf(holder)) !== "dead") throw locked(path, holder);
    const right = await acquire(files, `${path}.${holder.token}.takeover`);
    try {
      if ((await read(files, path))?.token === holder.token) {
        await replaceFile(files, path, bytes);
        break;
      }
    } finally {
      await right.release();
    }
  }
  return {
    release: async () => {
      if ((await read(files, path))?.token === mine.token) await files.remove(path);
    },
  };
}

async function read(files: Files, path: string): Promise<Content | undefined> {
  const bytes = await readSettled(files, path);
  if (bytes === undefined) return undefined;
  try {
    return contentSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new WidefieldError(
      "E_LOCKED",
      `${path} is damaged, so nothing says which process holds it; remove it if no other one works on this store`,
      { cause, details: { path } },
    );
  }
}

function locked(path: string, holder: Content): WidefieldError {
  const { pid, host, since } = holder;
  return new WidefieldError(
    "E_LOCKED",
    `process ${pid} on ${host} has been working on this shard since ${since} (${path}); wait for it, or take another ` +
      `shard (--shard i/n, the same n in all processes). If it runs on another host and is gone, remove that file`,
    { details: { path, pid, host } },
  );
}
