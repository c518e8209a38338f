/**
 * What a row of the conformance suite is, and how one of its cases runs. A case is data: buffers, launches, and a
 * function that compares what came back with a plain float64 loop. How a backend is driven stands only here.
 */
import type { Backend, Slot } from "../backend.ts";
import type { RandomStream } from "../rng.ts";
import type { Fields, KernelSchema, ParamsOf } from "../schema.ts";

export type Data = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** One dispatch; buffers are named as in the case. */
export interface Launch {
  readonly kernel: KernelSchema;
  readonly params: ParamsOf<Fields>;
  readonly buffers: readonly string[];
}

export interface Case {
  /** The shape and whatever else sets this case apart. */
  readonly name: string;
  /** Buffers by name: their first contents, or a number of bytes that start out as NaN. */
  readonly buffers: Readonly<Record<string, Data | number>>;
  /** Run once, before the launches, and never timed. */
  readonly setup?: readonly Launch[];
  readonly launches: readonly Launch[];
  /** Buffers that `check` looks at, and that must not be written beyond their end. */
  readonly outputs: readonly string[];
  /** The error, in the row's measure; NaN and Infinity are failures. */
  readonly check: (output: (name: string) => ArrayBuffer) => number;
  /** True where the outputs hold entries that may be anything, which keeps them out of the digest. */
  readonly loose?: boolean;
}

/** A case that is only there to be timed, and to be checked at a few places. */
export interface LargeCase extends Case {
  /** In the row's unit, for one run of the launches. */
  readonly work: number;
}

export interface Row {
  readonly kernel: KernelSchema;
  /** What the error is relative to. */
  readonly measure: string;
  readonly tolerance: number;
  /** Why no correct kernel exceeds the tolerance. */
  readonly reason: string;
  /** What `rate` counts per second. */
  readonly unit: string;
  cases(random: RandomStream, backend: Backend): Iterable<Case>;
  /** A case whose work grows with `level` = 0, 1, 2, ..; undefined when there is no larger one. */
  large(level: number, random: RandomStream, backend: Backend): LargeCase | undefined;
}

/** A launch whose params are checked against its kernel's schema. */
export function launch<F extends Fields>(
  kernel: KernelSchema<F>,
  params: ParamsOf<F>,
  buffers: readonly string[],
): Launch {
  return { kernel: kernel as unknown as KernelSchema, params, buffers };
}

export interface Outcome {
  readonly error: number;
  /** FNV-1a over all outputs, bit by bit. */
  readonly digest: number;
  /** Seconds for one run of the launches; undefined unless they were timed. */
  readonly seconds: number | undefined;
}

/** Behind every buffer: bytes that no kernel may touch. */
const GUARD_BYTES = 64;
const GUARD = 0xa5;
/** Contents of a buffer that nothing has written yet: float32 and float64 NaN both. */
const BLANK = 0xff;

/** Runs a case; with `timedSeconds`, its launches are then repeated for about so long. Frees what it allocates. */
export async function runCase(backend: Backend, test: Case, timedSeconds = 0): Promise<Outcome> {
  const slots = new Map<string, Slot>();
  const lengths = new Map<string, number>();
  const slotOf = (name: string): Slot => {
    const slot = slots.get(name);
    if (slot === undefined) throw new Error(`${test.name}: there is no buffer ${name}`);
    return slot;
  };
  const dispatch = ({ kernel, params, buffers }: Launch): void => backend.dispatch(kernel, params, buffers.map(slotOf));
  const run = (): void => test.launches.forEach(dispatch);
  try {
    for (const [name, contents] of Object.entries(test.buffers)) {
      const bytes = guarded(contents);
      const slot = backend.allocate(bytes.byteLength, name);
      slots.set(name, slot);
      lengths.set(name, bytes.byteLength - GUARD_BYTES);
      backend.write(slot, 0, bytes);
    }
    test.setup?.forEach(dispatch);
    run();
    const outputs = new Map<string, ArrayBuffer>();
    let digest = FNV_START;
    let overrun = false;
    for (const name of test.outputs) {
      const length = lengths.get(name) ?? 0;
      const bytes = await backend.read(slotOf(name), 0, length + GUARD_BYTES);
      overrun ||= new Uint8Array(bytes, length).some((byte) => byte !== GUARD);
      outputs.set(name, bytes.slice(0, length));
      if (test.loose !== true) digest = fnv(digest, new Uint8Array(bytes, 0, length));
    }
    const error = overrun ? Infinity : test.check((name) => outputs.get(name) ?? new ArrayBuffer(0));
    return { error, digest, seconds: timedSeconds > 0 ? await time(backend, run, timedSeconds) : undefined };
  } finally {
    for (const slot of slots.values()) backend.free(slot);
  }
}

/** Seconds for one run: after one to warm up, the number of runs per wait is doubled until the time is used up. */
async function time(backend: Backend, run: () => void, seconds: number): Promise<number> {
  run();
  await backend.finish();
  for (let runs = 1; ; runs *= 2) {
    const started = performance.now();
    for (let i = 0; i < runs; i++) run();
    await backend.finish();
    const taken = (performance.now() - started) / 1000;
    if (taken > seconds / 2) return taken / runs;
  }
}

function guarded(contents: Data | number): Uint8Array<ArrayBuffer> {
  const length = typeof contents === "number" ? contents : contents.byteLength;
  const bytes = new Uint8Array(length + GUARD_BYTES);
  bytes.fill(GUARD, length);
  if (typeof contents === "number") bytes.fill(BLANK, 0, length);
  else bytes.set(new Uint8Array(contents.buffer, contents.byteOffset, length));
  return bytes;
}

export const FNV_START = 0x811c9dc5;

function fnv(start: number, bytes: Uint8Array): number {
  let hash = start;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** The largest of a number of errors, of which a NaN is the worst. */
export function worst(count: number, errorOf: (index: number) => number): number {
  let largest = 0;
  for (let index = 0; index < count; index++) {
    const error = errorOf(index);
    if (!(error <= largest)) largest = error;
    if (Number.isNaN(largest)) return NaN;
  }
  return largest;
}

/** |actual - expected| in units of `scale`; nothing is off by nothing, and anything is infinitely far from it. */
export function errorOf(actual: number | undefined, expected: number, scale: number): number {
  if (actual === expected) return 0;
  return Math.abs((actual ?? NaN) - expected) / scale;
}

/** At most `count` places in [0, length), in no order, for results too large to be checked whole. */
export function sample(random: RandomStream, length: number, count: number): number[] {
  if (length <= count) return Array.from({ length }, (_, index) => index);
  return Array.from({ length: count }, () => random.below(length));
}

/** Normal numbers; above 2^16 of them, the first 2^16 over and over, shifted by odd steps: drawing is slower than most kernels. */
export function normals(random: RandomStream, length: number): Float32Array<ArrayBuffer> {
  const drawn = random.fillNormal(new Float32Array(Math.min(length, 65521)));
  const out = new Float32Array(length);
  for (let at = 0; at < length; at += drawn.length) out.set(drawn.subarray(0, length - at), at);
  return out;
}
