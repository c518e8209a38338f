/**
 * `widefield kernel verify | export | import`: what can be done with a kernel store without computing a kernel. Each
 * function adds one subcommand to `kernel`; failures are WidefieldErrors, which the command line's main prints.
 */
import type { Command } from "commander";
import { exportNpy } from "../sdk/covariance/export.ts";
import type { Files } from "../sdk/platform/files.ts";
import { type Hdf5Result, importHdf5, isHdf5 } from "../sdk/covariance/hdf5.node.ts";
import { type ImportOptions, type ImportResult, importNpy } from "../sdk/covariance/import.ts";
import { rangesText } from "../sdk/covariance/store/manifest.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import { verify } from "../sdk/covariance/store/verify.ts";

/** What the command line around these subcommands provides, worked out from its common options. */
export interface StoreCommandContext {
  readonly files: Files;
  readonly memoryBytes: number;
  /** Aborted by Ctrl-C. */
  readonly signal?: AbortSignal | undefined;
  /** Print one JSON object, and nothing else. --json may stand before the subcommand or behind it. */
  readonly json: boolean;
  /** One line, or one JSON object, on stdout. */
  readonly print: (line: string) => void;
  /** On stderr, if at all. */
  readonly progress?: (label: string, done: number, total: number) => void;
  /** The process's exit status when the command itself went well: 1 for a store with damage. */
  readonly setExitCode: (code: number) => void;
}

/** Runs a subcommand in its context, and cleans up behind it; `command.optsWithGlobals()` has all options. */
export type InContext = (command: Command, run: (context: StoreCommandContext) => Promise<void>) => Promise<void>;

export function addKernelStoreCommands(kernel: Command, inContext: InContext): void {
  addVerify(kernel, inContext);
  addExport(kernel, inContext);
  addImport(kernel, inContext);
}

export function addVerify(kernel: Command, inContext: InContext): void {
  kernel
    .command("verify")
    .description("re-read every tile of a kernel matrix and list what is missing or damaged (exit status 1 if any is)")
    .argument("<store>", "the kernel matrix, K.zarr")
    .option("--json", "print one JSON object")
    .action((path: string, _options: unknown, command: Command) =>
      inContext(command, async ({ files, signal, json, print, progress, setExitCode }) => {
        const store = await KernelStore.open(files, path);
        const result = await verify(store, { signal, onProgress: (done, total) => progress?.("verify", done, total) });
        const sound = result.complete === result.tiles;
        if (!sound) setExitCode(1);
        if (json) {
          print(JSON.stringify({ store: path, sound, ...result }));
          return;
        }
        for (const { i, j } of result.missing) print(`missing  tile (${i}, ${j})`);
        for (const { i, j, file, reason } of result.damaged) print(`damaged  tile (${i}, ${j})  ${file}: ${reason}`);
        print(`${path}: ${sizeText(store)}, ${result.complete} of ${result.tiles} tiles are sound`);
        if (!sound) print("Run the command that makes it again: it computes what is missing or damaged, nothing else.");
      }),
    );
}

export function addExport(kernel: Command, inContext: InContext): void {
  kernel
    .command("export")
    .description("write a kernel matrix as one .npy file, symmetric matrices in full")
    .argument("<store>", "the kernel matrix, K.zarr")
    .argument("<npy>", "the file to write, K.npy")
    .option("--float32", "write float32 instead of float64")
    .option("--json", "print one JSON object")
    .action((path: string, npy: string, options: { readonly float32?: boolean }, command: Command) =>
      inContext(command, async ({ files, signal, json, print, progress }) => {
        const store = await KernelStore.open(files, path);
        const dtype = options.float32 === true ? "float32" : "float64";
        await exportNpy(store, npy, { dtype, signal, onProgress: (done, total) => progress?.("export", done, total) });
        const { rows, columns } = store.grid;
        if (json) print(JSON.stringify({ store: path, file: npy, rows, columns, dtype }));
        else print(`${npy}: ${rows} x ${columns}, ${dtype}`);
      }),
    );
}

export function addImport(kernel: Command, inContext: InContext): void {
  kernel
    .command("import")
    .description("store a matrix from a .npy file (float32 or float64, C order) or an HDF5 file as a kernel matrix")
    .argument("<file>", "the file to read: K.npy, or an HDF5 file such as cnn-gp's")
    .argument("<store>", "the kernel matrix to make, K.zarr")
    .option("--dataset <name>", "HDF5: which matrix; Kxvx and Kxtx are stored with the training images in the rows")
    .option(
      "--merge <file>",
      "HDF5: another worker's file, for entries that are NaN in the first (repeatable)",
      collect,
    )
    .option("--tile <n>", "rows and columns of a tile", "256")
    .option("--json", "print one JSON object")
    .action((file: string, path: string, options: Hdf5CommandOptions, command: Command) => {
      // `kernel` has a --tile of its own, and takes what stands behind a subcommand too.
      const asked = command.optsWithGlobals<{ readonly tile: string }>().tile;
      const size = Number(asked);
      if (!Number.isSafeInteger(size) || size < 1)
        command.error(`error: --tile has to be a whole number from 1 on, not '${asked}'`, {
          code: "commander.invalidArgument",
        });
      return inContext(command, async ({ files, memoryBytes, signal, json, print, progress }) => {
        const common: ImportOptions = {
          tile: size,
          memoryBytes,
          signal,
          onProgress: ({ tilesDone, tilesTotal }) => progress?.("import", tilesDone, tilesTotal),
        };
        const { dataset, merge } = options;
        const hdf5 = dataset !== undefined || merge !== undefined || (await isHdf5(files, file));
        const result: ImportResult & Partial<Hdf5Result> = hdf5
          ? await importHdf5(files, file, path, { ...common, dataset, merge })
          : await importNpy(files, file, path, common);
        const { store, mirrored, transposed } = result;
        const { symmetric, exponent, tile } = store.manifest;
        const { rows, columns } = store.grid;
        if (json) {
          const own = hdf5 ? { dataset: result.dataset, transposed, mirrored } : {};
          print(JSON.stringify({ store: path, file, ...own, rows, columns, symmetric, exponent, tile }));
          return;
        }
        print(`${path}: ${sizeText(store)}`);
        if (transposed === true) print(`${result.dataset ?? ""} is transposed: the training images are in the rows`);
        if (mirrored > 0) print(`${mirrored} entries that the file lacks are their mirror images`);
      });
    });
}

/** Options that may stand several times. */
function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

interface Hdf5CommandOptions {
  readonly dataset?: string;
  readonly merge?: string[];
}

function sizeText({ manifest, grid }: KernelStore): string {
  const { kind, symmetric, exponent, dataset, rows, columns } = manifest;
  const scaled = exponent === 0 ? "" : ` * 2^${exponent}`;
  return (
    `${kind} of ${dataset.name}, ${grid.rows} x ${grid.columns} (${rangesText(rows)} by ${rangesText(columns)})` +
    `${symmetric ? ", symmetric" : ""}${scaled}`
  );
}
