/**
 * Locks: at most one live process works on something. A lock is a file that says who holds it.
 *
 * A lock whose process has died is taken over. The race in that: A and B both find the dead lock, B replaces it, and A,
 * late, replaces B's living one. So every lock carries a token of its own, and only the holder of a second lock, named
 * after the dead one's token, may replace it: it looks again, and while it holds that second lock nobody else may touch
 * the dead one. The second lock is taken by the same rules, so one left by a process that died here does no harm.
 */
import * as z from "zod";
import { WidefieldError } from "../errors.ts";
import { createFile, type Files, type Owner, readSettled, replaceFile } from "./files.ts";

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

/** What is locked, in messages: "this shard", and what to do where a live process holds it. */
export interface Locked {
  readonly name: string;
  readonly advice: string;
}

/**
 * Makes the lock file `path`. Throws E_LOCKED, with the holder's pid and host, where a process that may be alive holds it.
 */
export async function lockFile(files: Files, path: string, what: Locked): Promise<Lock> {
  const mine: Content = { ...files.self, token: crypto.randomUUID(), since: new Date().toISOString() };
  const bytes = new TextEncoder().encode(`${JSON.stringify(mine)}\n`);
  for (;;) {
    if (await createFile(files, path, bytes)) break;
    const holder = await read(files, path);
    if (holder === undefined) continue;
    if ((await files.livenessOf(holder)) !== "dead") throw locked(path, holder, what);
    const right = await lockFile(files, `${path}.${holder.token}.takeover`, what);
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

/** Throws E_LOCKED where a process that may be alive holds the lock file `path`. */
export async function requireUnlocked(files: Files, path: string, what: Locked): Promise<void> {
  const holder = await read(files, path);
  if (holder !== undefined && (await files.livenessOf(holder)) !== "dead") throw locked(path, holder, what);
}

async function read(files: Files, path: string): Promise<(Content & Owner) | undefined> {
  const bytes = await readSettled(files, path);
  if (bytes === undefined) return undefined;
  try {
    return contentSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new WidefieldError(
      "E_LOCKED",
      `${path} is damaged, so nothing says which process holds it; remove it if no other one is at work there`,
      { cause, details: { path } },
    );
  }
}

function locked(path: string, { pid, host, since }: Content, { name, advice }: Locked): WidefieldError {
  return new WidefieldError(
    "E_LOCKED",
    `process ${pid} on ${host} has been working on ${name} since ${since} (${path}); ${advice}. If it runs on another ` +
      `host and is gone, remove that file`,
    { details: { path, pid, host } },
  );
}
