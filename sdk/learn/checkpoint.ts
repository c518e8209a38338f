/**
 * Checkpoints of a training run, in its folder:
 *
 *     last.json           everything but arrays (`checkpoint-record.ts`), and the seal of the file beside it
 *     last.safetensors    parameters, running statistics, the optimiser's arrays ("optimiser/...")
 *     best.json, best.safetensors    the same of the best epoch so far, without the optimiser's arrays
 *     .run.lock           held by the process that trains
 *
 * A pair is replaced in three steps, each of them atomic: the new arrays as NAME.next.safetensors, then NAME.json with
 * their seal, then a rename over NAME.safetensors. Before the second step the old pair is there, after it the new one,
 * whose arrays are for a moment found under the first name. So a run that is killed, or whose disk is full, at any point
 * has a whole checkpoint.
 */
import { differences } from "../covariance/store/manifest.ts";
import { WidefieldError } from "../errors.ts";
import { discard, isAbandoned, readSettled, replaceFile, type Files } from "../platform/files.ts";
import { lockFile, type Lock } from "../platform/lock.ts";
import { readSafetensors, writeSafetensors, type NamedArray } from "../platform/safetensors.ts";
import { arraysOf, decodeRecord, encodeRecord, isSealed, stateOf } from "./checkpoint-record.ts";
import type { CheckpointRecord, RunIdentity } from "./checkpoint-record.ts";
import { restoreModel, type TrainingState } from "./training-state.ts";
import type { Model } from "../tensor/model.ts";

export type { RunIdentity } from "./checkpoint-record.ts";

export type CheckpointName = "last" | "best";

/** A checkpoint that was read. */
export interface Checkpoint {
  /** Of its JSON file. */
  readonly path: string;
  readonly run: RunIdentity;
  /** Version of widefield that wrote it. */
  readonly widefield: string;
  /** The best one's optimiser has no arrays: it is to be used, not to be trained on. */
  readonly state: TrainingState;
}

const LOCK = ".run.lock";
const RUN = { name: "this run", advice: "wait for it, or choose another folder" } as const;

/** Differences of two runs that are told. */
const MOST_LINES = 12;
/** Times that a checkpoint is looked at again which another process is replacing. */
const MOST_LOOKS = 5;

const arraysFile = (name: CheckpointName): string => `${name}.safetensors`;
const nextFile = (name: CheckpointName): string => `${name}.next.safetensors`;

export class CheckpointFolder {
  readonly path: string;
  /** The run's last checkpoint as of when the folder was opened: what training goes on from. */
  readonly found: TrainingState | undefined;
  private readonly files: Files;
  private readonly run: RunIdentity;
  private lock: Lock | undefined;
  /** Pairs whose third step has failed: the arrays that their JSON means are still in NAME.next.safetensors. */
  private readonly unsettled = new Set<CheckpointName>();

  private constructor(files: Files, path: string, run: RunIdentity, lock: Lock, found: TrainingState | undefined) {
    this.files = files;
    this.path = path;
    this.run = run;
    this.lock = lock;
    this.found = found;
  }

  /**
   * Opens the folder of a run, or makes it (its parent has to be there), locks it, and reads the last checkpoint.
   *
   * @throws WidefieldError E_LOCKED where another process trains there; E_MISMATCH, line by line, for another run's
   *   folder; E_CORRUPT for a damaged checkpoint; E_IO
   */
  static async open(files: Files, path: string, run: RunIdentity): Promise<CheckpointFolder> {
    await files.makeFolder(path);
    const lock = await lockFile(files, `${path}/${LOCK}`, RUN);
    try {
      // A process that was killed while it wrote leaves a temporary file.
      for (const name of await files.list(path))
        if (await isAbandoned(files, name)) await files.remove(`${path}/${name}`);
      const found = await readPair(files, path, "last", run);
      if (found === undefined) await requireNoArrays(files, path);
      await settle(files, path, "last", found?.from);
      await settle(files, path, "best", (await readPair(files, path, "best", run))?.from);
      return new CheckpointFolder(files, path, run, lock, found?.checkpoint.state);
    } catch (thrown) {
      await lock.release();
      throw thrown;
    }
  }

  /**
   * Writes the last checkpoint, and before it the best one where this is it: a run that is killed in between does that
   * epoch again. Throws E_IO, E_CLOSED; the checkpoints that were there stay good.
   */
  async save(state: TrainingState, options: { readonly best?: boolean | undefined } = {}): Promise<void> {
    if (this.lock === undefined) throw new WidefieldError("E_CLOSED", `the checkpoints of ${this.path} are closed`);
    if (options.best === true) await this.replace("best", { ...state, optimiser: { ...state.optimiser, arrays: [] } });
    await this.replace("last", state);
  }

  /** Lets other processes train here. Idempotent. */
  async close(): Promise<void> {
    const lock = this.lock;
    this.lock = undefined;
    await lock?.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async replace(name: CheckpointName, state: TrainingState): Promise<void> {
    const { files, path } = this;
    if (this.unsettled.has(name)) await this.settled(name);
    const next = `${path}/${nextFile(name)}`;
    const seal = await writeSafetensors(files, next, arraysOf(state));
    const record = encodeRecord(state, this.run, arraysFile(name), seal);
    try {
      await replaceFile(files, `${path}/${name}.json`, record);
    } catch (thrown) {
      // The rename may have happened, and only its answer got lost: then these are the arrays, whatever was reported.
      const there = await files.read(`${path}/${name}.json`).catch(() => record);
      if (there !== undefined && sameBytes(there, record)) this.unsettled.add(name);
      else await discard(files, next);
      throw thrown;
    }
    this.unsettled.add(name);
    await this.settled(name);
  }

  private async settled(name: CheckpointName): Promise<void> {
    const next = `${this.path}/${nextFile(name)}`;
    // Not there: an earlier rename happened after all.
    if ((await this.files.size(next)) !== undefined) await this.files.rename(next, `${this.path}/${arraysFile(name)}`);
    this.unsettled.delete(name);
  }
}

/**
 * Reads a checkpoint of a run's folder, of whatever run; a process may be training there.
 *
 * @throws WidefieldError E_DATA where there is none, E_CORRUPT for a damaged one, E_IO
 */
export async function loadCheckpoint(files: Files, folder: string, name: CheckpointName): Promise<Checkpoint> {
  const found = await readPair(files, folder, name, undefined);
  if (found !== undefined) return found.checkpoint;
  throw new WidefieldError(
    "E_DATA",
    `${folder} holds no checkpoint: there is no ${name}.json; give the folder that a run was saved to`,
    { details: { folder } },
  );
}

/**
 * Writes a checkpoint's parameters and running statistics into a model. Throws E_CONFIG, before anything is written, where
 * they are of another one, with the file, and each tensor that is missing, too many or of another shape.
 */
export function restoreCheckpoint(
  { path, state }: Pick<Checkpoint, "path" | "state">,
  model: Pick<Model, "parameters" | "states">,
): void {
  try {
    restoreModel(model, state);
  } catch (cause) {
    if (!(cause instanceof WidefieldError)) throw cause;
    const { code, message, details } = cause;
    const advice = 'Give the architecture that it was trained with, which stands there under "run".';
    throw new WidefieldError(code, `${path}: ${message}\n${advice}`, { cause, details: { ...details, path } });
  }
}

interface Pair {
  readonly checkpoint: Checkpoint;
  /** The file that the arrays were in. */
  readonly from: string;
}

/** Undefined where there is none. `run` undefined: of any run. */
async function readPair(
  files: Files,
  folder: string,
  name: CheckpointName,
  run: RunIdentity | undefined,
): Promise<Pair | undefined> {
  const path = `${folder}/${name}.json`;
  let text = await readSettled(files, path);
  for (let look = 1; ; look++) {
    if (text === undefined) return undefined;
    const record = decodeRecord(text, path, adviceFor(folder, name));
    // First, because it says more than the names of tensors would.
    if (run !== undefined) requireSameRun(folder, record, run);
    const found = await readArrays(files, folder, name, record);
    if (!(found instanceof WidefieldError)) {
      const { run: stored, widefield } = record;
      const state = stateOf(record, found.arrays, path);
      return { checkpoint: { path, run: stored, widefield, state }, from: found.from };
    }
    // Another process may have replaced the pair between the reading of its halves.
    const again = await readSettled(files, path);
    if (look === MOST_LOOKS || (again !== undefined && sameBytes(text, again))) throw found;
    text = again;
  }
}

/** The arrays that a record means, under either of their names; or what is wrong with them. */
async function readArrays(
  files: Files,
  folder: string,
  name: CheckpointName,
  record: CheckpointRecord,
): Promise<{ readonly arrays: ReadonlyMap<string, NamedArray>; readonly from: string } | WidefieldError> {
  let problem: WidefieldError | undefined;
  for (const from of [arraysFile(name), nextFile(name)]) {
    const path = `${folder}/${from}`;
    const bytes = await files.size(path);
    if (bytes === undefined) continue;
    const others = `it is not the one that ${name}.json was written with`;
    if (bytes !== record.tensors.bytes) {
      const sizes = `it has ${bytes} bytes, and ${record.tensors.bytes} are expected: truncated, or ${others}`;
      problem ??= damaged(path, sizes, folder, name);
      continue;
    }
    try {
      const { tensors, seal } = await readSafetensors(files, path);
      if (isSealed(record, seal)) return { arrays: tensors, from };
      problem ??= damaged(path, `its CRC-32C is wrong, or ${others}`, folder, name);
    } catch (thrown) {
      if (!(thrown instanceof WidefieldError) || (thrown.code !== "E_CORRUPT" && thrown.code !== "E_DATA"))
        throw thrown;
      problem ??= damaged(path, thrown.message, folder, name, thrown);
    }
  }
  return problem ?? damaged(`${folder}/${arraysFile(name)}`, "it is missing", folder, name);
}

/** After the second step of a replacement comes the third; before it, there was none. */
async function settle(files: Files, folder: string, name: CheckpointName, from: string | undefined): Promise<void> {
  const next = `${folder}/${nextFile(name)}`;
  if (from === nextFile(name)) await files.rename(next, `${folder}/${arraysFile(name)}`);
  else await files.remove(next);
}

async function requireNoArrays(files: Files, folder: string): Promise<void> {
  const path = `${folder}/${arraysFile("last")}`;
  if ((await files.size(path)) === undefined) return;
  throw new WidefieldError(
    "E_CORRUPT",
    `${path} has no last.json beside it, so nothing says what it is of: put that back, or choose another folder`,
    { details: { path } },
  );
}

function requireSameRun(folder: string, { run: stored, widefield }: CheckpointRecord, asked: RunIdentity): void {
  const release = (version: string): string => version.split(".").slice(0, 2).join(".");
  // A patch release changes no bit of a training step.
  const lines = differences(
    { widefield: release(widefield), ...stored },
    // As it would be read again: what is undefined is not there.
    { widefield: release(WIDEFIELD_VERSION), ...(JSON.parse(JSON.stringify(asked)) as RunIdentity) },
  );
  if (lines.length === 0) return;
  const more = lines.length > MOST_LINES ? [`... and ${lines.length - MOST_LINES} more`] : [];
  throw new WidefieldError(
    "E_MISMATCH",
    `${folder} holds another training run (stored -> asked for):\n` +
      [...lines.slice(0, MOST_LINES), ...more].map((line) => `  ${line}\n`).join("") +
      "Go on with its own settings, choose another folder for the new run, or remove the old one.",
    { details: { path: folder, differences: lines } },
  );
}

function adviceFor(folder: string, name: CheckpointName): string {
  return name === "last"
    ? `put back a copy of ${folder}/last.json and last.safetensors, or remove both to train from the start`
    : `put back a copy of ${folder}/best.json and best.safetensors, or remove both: the next best epoch writes them again`;
}

function damaged(path: string, why: string, folder: string, name: CheckpointName, cause?: unknown): WidefieldError {
  return new WidefieldError("E_CORRUPT", `${path} is damaged: ${why}; ${adviceFor(folder, name)}`, {
    cause,
    details: { path },
  });
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
