/**
 * Locks on the shards of a store: at most one live process works on a shard. They spare work, the bytes do not depend on
 * them: two processes that did compute the same tile would write the same file, each by a rename.
 */
import type { Files } from "../../platform/files.ts";
import { lockFile, requireUnlocked, type Lock } from "../../platform/lock.ts";
import type { Shard } from "./grid.ts";

const shardLock = /^\.shard-(?<index>\d+)-of-(?<count>\d+)\.lock$/;

const SHARD = {
  name: "this shard",
  advice: "wait for it, or take another shard (--shard i/n, the same n in all processes)",
} as const;

/**
 * Locks one shard of the store in `folder`. Throws E_LOCKED, with the holder's pid and host, where another process
 * works on this shard, or on a shard of another division, which would overlap with it.
 */
export async function lockShard(files: Files, folder: string, shard: Shard): Promise<Lock> {
  const file = `.shard-${shard.index}-of-${shard.count}.lock`;
  const lock = await lockFile(files, `${folder}/${file}`, SHARD);
  try {
    // After our own lock is up: of two processes with different divisions, at least the later one sees the other.
    for (const name of await files.list(folder)) {
      // Second locks are about locks that ours has replaced: nobody can gain anything by one any more.
      if (name.startsWith(`${file}.`) && name.endsWith(".takeover")) await files.remove(`${folder}/${name}`);
      const other = shardLock.exec(name)?.groups;
      if (other === undefined || Number(other["count"]) === shard.count) continue;
      await requireUnlocked(files, `${folder}/${name}`, SHARD);
    }
  } catch (error) {
    await lock.release();
    throw error;
  }
  return lock;
}
