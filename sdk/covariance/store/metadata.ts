/**
 * `zarr.json` of a kernel store: written through zarrita, read with every field checked that reading relies on, so
 * that a foreign or damaged file is refused with words and never read as numbers.
 */
import * as zarr from "zarrita";
import * as z from "zod";
import { WidefieldError } from "../../errors.ts";
import { type Grid } from "./grid.ts";
import { FORMAT, type Manifest, countOf, manifestChecksum, manifestSchema } from "./manifest.ts";

const codecs = [
  { name: "bytes", configuration: { endian: "little" } },
  { name: "crc32c", configuration: {} },
];

const pair = z.tuple([z.int().positive(), z.int().positive()]);

/** Zarr v3 with our own choices; what others may add (dimension names, more attributes) is let through. */
const zarrSchema = z.object({
  zarr_format: z.literal(3),
  node_type: z.literal("array"),
  shape: pair,
  data_type: z.literal("float32"),
  chunk_grid: z.object({ name: z.literal("regular"), configuration: z.object({ chunk_shape: pair }) }),
  chunk_key_encoding: z.object({
    name: z.literal("default"),
    configuration: z.object({ separator: z.literal("/") }).optional(),
  }),
  codecs: z.tuple([
    z.object({ name: z.literal("bytes"), configuration: z.object({ endian: z.literal("little") }) }),
    z.object({ name: z.literal("crc32c") }),
  ]),
  fill_value: z.literal("NaN"),
});

const ours = z.object({ attributes: z.object({ widefield: z.looseObject({ format: z.int() }) }) });
const checksum = z.object({ attributes: z.object({ widefield_crc32c: z.string() }) });

export function gridOf(manifest: Manifest): Grid {
  const { rows, columns, tile, symmetric } = manifest;
  return { rows: countOf(rows), columns: countOf(columns), tile, symmetric };
}

/** The bytes of `zarr.json`. */
export async function encodeMetadata(manifest: Manifest): Promise<Uint8Array> {
  const { rows, columns, tile } = gridOf(manifest);
  const memory = new Map<string, Uint8Array>();
  await zarr.create(memory, {
    shape: [rows, columns],
    chunkShape: [tile, tile],
    dtype: "float32",
    codecs,
    fillValue: NaN,
    attributes: { widefield: manifest, widefield_crc32c: manifestChecksum(manifest) },
  });
  const bytes = memory.get("/zarr.json");
  if (bytes === undefined) throw new Error("zarrita wrote no /zarr.json");
  return bytes;
}

/**
 * Reads `zarr.json`: E_CORRUPT where it is damaged, E_MISMATCH where it is something else's. `path` is the store's
 * folder, for messages.
 */
export function decodeMetadata(path: string, bytes: Uint8Array): Manifest {
  const json = parseJson(path, bytes);
  const mark = ours.safeParse(json);
  if (!mark.success) {
    throw new WidefieldError(
      "E_MISMATCH",
      `${path} is not a kernel store of widefield: its zarr.json has no attribute "widefield". ` +
        `To use a matrix from elsewhere, save it as .npy and import it (widefield kernel import)`,
      { details: { path } },
    );
  }
  const { widefield: stored } = mark.data.attributes;
  if (stored.format !== FORMAT) {
    throw new WidefieldError(
      "E_MISMATCH",
      `${path} has format ${stored.format}, this widefield (${WIDEFIELD_VERSION}) reads format ${FORMAT}: ` +
        `use the version that wrote it`,
      { details: { path, format: stored.format } },
    );
  }
  const sum = checksum.safeParse(json);
  if (!sum.success || sum.data.attributes.widefield_crc32c !== manifestChecksum(stored)) {
    throw corrupt(path, "the manifest in it does not have its checksum");
  }
  const manifest = manifestSchema.safeParse(stored);
  if (!manifest.success) throw corrupt(path, z.prettifyError(manifest.error));
  const array = zarrSchema.safeParse(json);
  if (!array.success) throw corrupt(path, z.prettifyError(array.error));
  const grid = gridOf(manifest.data);
  const [rows, columns] = array.data.shape;
  const [tileHeight, tileWidth] = array.data.chunk_grid.configuration.chunk_shape;
  if (rows !== grid.rows || columns !== grid.columns || tileHeight !== grid.tile || tileWidth !== grid.tile) {
    throw corrupt(
      path,
      `it declares ${rows} x ${columns} in chunks of ${tileHeight} x ${tileWidth}, ` +
        `its manifest ${grid.rows} x ${grid.columns} in tiles of ${grid.tile}`,
    );
  }
  return manifest.data;
}

function parseJson(path: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw corrupt(path, "it is not JSON", cause);
  }
}

function corrupt(path: string, reason: string, cause?: unknown): WidefieldError {
  return new WidefieldError(
    "E_CORRUPT",
    `${path}/zarr.json is damaged: ${reason}. Restore it from a copy, or remove the store and compute it again`,
    { cause, details: { path: `${path}/zarr.json` } },
  );
}
