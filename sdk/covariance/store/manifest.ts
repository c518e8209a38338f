/**
 * The manifest of a kernel store: what the matrix is, and how it was made. It stands in `zarr.json`, among the
 * attributes. This file says what it holds, when two manifests describe the same job, and how their difference reads.
 */
import * as z from "zod";
import { WidefieldError } from "../../errors.ts";
import { crc32c } from "../../platform/crc32c.ts";

export const FORMAT = 1;

/** Half-open ranges [begin, end) in a data set's index space, in order. */
export type IndexRanges = [begin: number, end: number][];

const range = z
  .tuple([z.int().nonnegative(), z.int().nonnegative()])
  .refine(([begin, end]) => begin < end, "a range needs begin < end");

export const manifestSchema = z
  .object({
    /** Of this manifest and the files beside it. */
    format: z.literal(FORMAT),
    /** Version of widefield that created the store. */
    widefield: z.string().regex(/^\d+\.\d+\./, "not a version"),
    /** Which kernel: of the infinite network's outputs, of its gradients, in closed form, or a matrix from elsewhere. */
    kind: z.enum(["nngp", "ntk", "closed", "imported"]),
    /** Only tiles (i, j) with j <= i are stored; the matrix is exactly symmetric. */
    symmetric: z.boolean(),
    /** Kernel = stored value * 2^exponent. */
    exponent: z.int(),
    /** Rows and columns of a tile, one chunk each. */
    tile: z.int().positive(),
    /** What the kernel was computed in; stored are float32 values in any case. */
    precision: z.enum(["f32", "f64"]),
    /** "wasm", "webgpu", or "import". */
    backend: z.string(),
    /** The architecture, or the kernel in closed form, as JSON; null for a matrix from elsewhere. */
    arch: z.json(),
    /** `sha256` is of the images' bytes as used, or of the imported file. */
    dataset: z.object({ name: z.string(), sha256: z.string().regex(/^[0-9a-f]{64}$/, "not a SHA-256") }),
    /** Half-open ranges [begin, end) in the data set's index space, in the matrix's order. */
    rows: z.array(range).min(1),
    columns: z.array(range).min(1),
    /** From here on: recorded, never compared. */
    adapter: z.string(),
    threads: z.int().nonnegative(),
    seeds: z.record(z.string(), z.number()),
    /** ISO 8601. */
    created: z.string(),
  })
  .refine(
    ({ symmetric, rows, columns }) => !symmetric || rangesText(merged(rows)) === rangesText(merged(columns)),
    "a symmetric matrix has the same rows and columns",
  );

export type Manifest = z.infer<typeof manifestSchema>;
export type Json = Manifest["arch"];
/** A manifest as a job writes it down; the store adds the rest. */
export type KernelSpec = Omit<Manifest, "format" | "widefield" | "created">;

export function manifestOf(spec: KernelSpec): Manifest {
  const manifest = { ...spec, format: FORMAT, widefield: WIDEFIELD_VERSION, created: new Date().toISOString() };
  const parsed = manifestSchema.safeParse(manifest);
  if (!parsed.success) throw new WidefieldError("E_CONFIG", `kernel store: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Number of indices in a list of ranges. */
export function countOf(ranges: IndexRanges): number {
  return ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
}

/** "55000:60000,0:5000", as ranges are written on the command line. */
export function rangesText(ranges: IndexRanges): string {
  return ranges.map(([begin, end]) => `${begin}:${end}`).join(",");
}

/** True where the indices of `part` are the first ones of `whole`, in the same order, however they are cut in ranges. */
export function isLeadingPart(part: IndexRanges, whole: IndexRanges): boolean {
  const [few, many] = [merged(part), merged(whole)];
  return few.every(([begin, end], at) => {
    const of = many[at];
    return of?.[0] === begin && (at === few.length - 1 ? end <= of[1] : end === of[1]);
  });
}

/** The same indices in as few ranges as possible. */
function merged(ranges: IndexRanges): IndexRanges {
  const out: IndexRanges = [];
  for (const [begin, end] of ranges) {
    const last = out.at(-1);
    if (last?.[1] === begin) last[1] = end;
    else out.push([begin, end]);
  }
  return out;
}

/** Everything that the bytes of the tiles depend on: two jobs may share a store when these are equal. */
export function identityOf(manifest: Manifest): Record<string, Json> {
  const { format, kind, symmetric, exponent, tile, precision, backend, arch, dataset } = manifest;
  return {
    format,
    // A patch release changes no bit of a kernel.
    widefield: manifest.widefield.split(".").slice(0, 2).join("."),
    kind,
    backend,
    precision,
    // Float32 differs in its last bits between GPUs, and between wasm with fused multiply-add and without.
    instructions: precision === "f64" ? "f64" : manifest.adapter === "single" ? "threads" : manifest.adapter,
    arch,
    dataset: { sha256: dataset.sha256 },
    rows: rangesText(merged(manifest.rows)),
    columns: rangesText(merged(manifest.columns)),
    symmetric,
    tile,
    exponent,
  };
}

/** Where two JSON values differ, one line each: `arch.layers[3].weightVariance: 2.79 -> 2.8`. */
export function differences(stored: Json | undefined, asked: Json | undefined, path = ""): string[] {
  if (Array.isArray(stored) && Array.isArray(asked)) {
    const indices = Array.from({ length: Math.max(stored.length, asked.length) }, (_, index) => index);
    return indices.flatMap((index) => differences(stored[index], asked[index], `${path}[${index}]`));
  }
  if (isRecord(stored) && isRecord(asked)) {
    const keys = new Set([...Object.keys(stored), ...Object.keys(asked)]);
    return [...keys].flatMap((key) => differences(stored[key], asked[key], path === "" ? key : `${path}.${key}`));
  }
  if (stored === asked) return [];
  return [`${path}: ${leafText(stored)} -> ${leafText(asked)}`];
}

function isRecord(value: Json | undefined): value is Record<string, Json> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function leafText(value: Json | undefined): string {
  if (value === undefined) return "(absent)";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What a user of a finished matrix asks for: which kernel, of which images. */
export interface KernelRequest {
  readonly rows: IndexRanges;
  readonly columns: IndexRanges;
  readonly kind?: Manifest["kind"] | undefined;
  readonly arch?: Json | undefined;
  readonly dataset?: Manifest["dataset"] | undefined;
}

/** E_MISMATCH, line by line, unless the store at `path` holds the job that `asked` describes. */
export function requireSameJob(path: string, stored: Manifest, asked: Manifest): void {
  refuse(path, differences(identityOf(stored), identityOf(asked)));
}

/** E_MISMATCH, line by line, unless the store at `path` holds the kernel that `asked` describes; not its indices. */
export function requireSameKernel(path: string, stored: Manifest, asked: KernelRequest): void {
  const { kind, arch, dataset } = asked;
  refuse(path, [
    ...(kind === undefined ? [] : differences(stored.kind, kind, "kind")),
    ...(arch === undefined ? [] : differences(stored.arch, arch, "arch")),
    ...(dataset === undefined ? [] : differences(stored.dataset.sha256, dataset.sha256, "dataset.sha256")),
  ]);
}

function refuse(path: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  throw new WidefieldError(
    "E_MISMATCH",
    `${path} holds another kernel matrix (stored -> asked for):\n${lines.map((line) => `  ${line}`).join("\n")}\n` +
      `Choose another name for the new matrix, or remove the old one.`,
    { details: { path, differences: lines } },
  );
}

/** CRC-32C of the manifest in a form that does not depend on the order of keys, as eight hexadecimal digits. */
export function manifestChecksum(manifest: unknown): string {
  const canonical = JSON.stringify(manifest, (_key, value: unknown) =>
    isPlainObject(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value,
  );
  return crc32c(new TextEncoder().encode(canonical)).toString(16).padStart(8, "0");
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
