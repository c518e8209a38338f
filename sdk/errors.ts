/**
 * The one error class of the project. It stands below every floor, so that a wrong file, a lost GPU and an indefinite
 * matrix all reach the user in the same form: a stable code to branch on, and a message that says what, where and what
 * to do. Anything that does not come from a user, a file or a device is a bug and stays an ordinary Error.
 */

export type ErrorCode =
  | "E_CONFIG" // an option or an architecture that cannot be meant
  | "E_SHAPE" // sizes that do not fit together
  | "E_DATA" // a data set that is missing, malformed or holds values that cannot be used
  | "E_RANGE" // an index range that is empty or out of bounds
  | "E_NOT_POSITIVE_DEFINITE"
  | "E_NOT_CONVERGED" // an iteration that came to a halt above its tolerance
  | "E_DIVERGED" // a training run whose loss is no longer finite
  | "E_NO_ADAPTER" // no usable GPU
  | "E_DEVICE" // a GPU or a worker that failed while working
  | "E_MEMORY" // a budget or an address space that is too small
  | "E_CORRUPT" // bytes on disk that are not what was written
  | "E_MISMATCH" // a store that belongs to another job
  | "E_LOCKED" // a shard that another process is working on
  | "E_IO" // the file system refused
  | "E_OVERFLOW" // a value that leaves its format's range
  | "E_ABORTED" // stopped on request
  | "E_CLOSED"; // use after close()

export class WidefieldError extends Error {
  override readonly name = "WidefieldError";
  readonly code: ErrorCode;
  /** Machine-readable facts: the pivot, the index, the path, ... */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
