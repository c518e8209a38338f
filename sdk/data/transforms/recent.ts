/**
 * Costly results that a sweep over noise levels asks for again: an engine remembers the last one of each kind, for as long
 * as it lives.
 */
import { WidefieldError } from "../../errors.ts";

interface Remembered {
  readonly key: string;
  readonly value: Promise<unknown>;
}

const remembered = new WeakMap<object, Map<string, Remembered>>();

/**
 * What `make` gave for the same kind and key last time, else what it gives now; failures are not remembered. Callers who
 * come while it is made wait for the same result; where the one who makes it is stopped, another makes it anew.
 */
export async function lastOf<T>(engine: object, kind: string, key: string, make: () => Promise<T>): Promise<T> {
  const kinds = remembered.get(engine) ?? new Map<string, Remembered>();
  remembered.set(engine, kinds);
  const known = kinds.get(kind);
  // The kind decides the type: one place in the code makes each.
  if (known?.key === key) {
    try {
      return await (known.value as Promise<T>);
    } catch (thrown) {
      if (!(thrown instanceof WidefieldError) || thrown.code !== "E_ABORTED") throw thrown;
      if (kinds.get(kind) === known) kinds.delete(kind);
      return lastOf(engine, kind, key, make);
    }
  }
  kinds.delete(kind); // before the next is made: they are large
  const value = make();
  kinds.set(kind, { key, value });
  try {
    return await value;
  } catch (thrown) {
    if (kinds.get(kind)?.value === value) kinds.delete(kind);
    throw thrown;
  }
}

/** Lets go of what is remembered of a kind. */
export function forget(engine: object, kind: string): void {
  remembered.get(engine)?.delete(kind);
}
