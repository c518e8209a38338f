/**
 * `widefield data list` and `widefield data verify NAME`: what datasets there are, and whether the files of one are
 * whole (`data-fetch.ts`: downloading them). Free-standing: `dataCommand` takes what it reads with and writes to, and leaves errors to whoever mounts it.
 */
import { Command } from "commander";
import { shapeText } from "../sdk/data/dataset.ts";
import { SOURCES } from "../sdk/data/fetch-sources.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import type { ReadFile } from "../sdk/data/idx.ts";
import { DATASETS, type NamedDataset } from "../sdk/data/registry.ts";
import { type FileReport, type PartReport, verifyDataset, type VerifyReport } from "../sdk/data/verify.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { dataFetchCommand } from "./data-fetch.ts";
import { folderText, IMAGE_FOLDER, refuseBad, verifyFolder } from "./data-folder.ts";
import { previewCommand } from "./data-preview.ts";
import { withSession, type CommonOptions } from "./session.ts";

export interface DataCommandContext {
  /** Takes whole lines; default: standard output. */
  readonly write?: (text: string) => void;
  /** Default: from the disk. */
  readonly readFile?: ReadFile;
}

export function dataCommand(context: DataCommandContext = {}): Command {
  const write = context.write ?? ((text: string) => void process.stdout.write(text));
  const readFile = context.readFile ?? readFileFromDisk;
  const command = new Command("data").description("datasets: what there is, and whether its files are whole");

  command
    .command("list")
    .description("list the datasets that have names, and the files they need")
    .option("--json", "print one JSON object")
    .option("--quiet", "no notes on stderr (there are none: taken for uniformity)")
    .action((options: { json?: true }) => {
      const datasets = DATASETS.map(listed);
      if (options.json) write(`${JSON.stringify({ datasets, folders: [IMAGE_FOLDER] })}\n`);
      else write([...datasets.map(listText), folderListText()].join(""));
    });

  command
    .command("verify")
    .description("read a dataset from end to end: counts, labels, pixels, digests, compared with what was published")
    .argument("<name>", "one of the names that `data list` prints")
    .option("--data-dir <folder>", "the folder that holds the files, packed (.gz) or not")
    .option("--seed <integer>", "for generated datasets", parseSeed)
    .option("--json", "print one JSON object")
    .option("--quiet", "no progress on stderr")
    .action(async (name: string, options: VerifyOptions) => {
      const { dataDir, seed } = options;
      if (name.toLowerCase() === IMAGE_FOLDER.name) {
        const report = await withSession(options, (session) => verifyFolder(dataDir, session));
        write(options.json ? `${JSON.stringify(report)}\n` : folderText(report));
        refuseBad(report);
        return;
      }
      const report = await verifyDataset(name, {
        readFile,
        // A caller's own way of reading is the only one.
        ...(context.readFile === undefined ? { files: await nodeFiles() } : {}),
        ...(dataDir === undefined ? {} : { dataDir }),
        ...(seed === undefined ? {} : { seed }),
      });
      write(options.json ? `${JSON.stringify(report)}\n` : verifyText(report));
      refuseDifferent(report);
    });

  command.addCommand(dataFetchCommand());
  command.addCommand(previewCommand());
  return command;
}

interface VerifyOptions extends Pick<CommonOptions, "json" | "quiet"> {
  readonly dataDir?: string;
  readonly seed?: number;
}

function parseSeed(text: string): number {
  const seed = /^\d+$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(seed)) return seed;
  throw new WidefieldError("E_CONFIG", `--seed must be an integer in 0..2^53-1, not "${text}"`);
}

/** The report is printed first: it says what the files are, the error only which of them are not as published. */
function refuseDifferent({ name, files }: VerifyReport): void {
  const different = files.filter(({ published }) => published === "different");
  if (different.length === 0) return;
  throw new WidefieldError(
    "E_DATA",
    `${name}: well-formed, but not as published: ${different.map(({ path }) => path).join(", ")}; ` +
      "fetch it again, or go on if you meant to change it",
    { details: { files: different } },
  );
}

function listed(dataset: NamedDataset) {
  const { name, title, shape, classes, trainCount, testCount, files } = dataset;
  return {
    name,
    title,
    // Of arrays of one's own, nothing is known before they are read.
    shape: shape ?? null,
    classes: classes ?? null,
    trainCount: trainCount ?? null,
    testCount: testCount ?? null,
    files: fileNames(files),
    python: files?.format === "cifar" ? [...files.python.train, files.python.test] : [],
    trainOptional: files?.format === "idx" && files.trainOptional,
    testOptional: files?.format === "npy",
    extraOptional: files?.format === "svhn",
    fetch: SOURCES.filter((source) => source.dataset === name).map((source) => source.name),
  };
}

function fileNames(files: NamedDataset["files"]): readonly string[] {
  if (files === undefined) return [];
  if (files.format === "cifar") return [...files.binary.train, files.binary.test];
  if (files.format === "svhn") return [files.train, files.extra, files.test];
  return [files.train, files.test].flatMap(({ images, labels }) => [images, labels]);
}

function listText({ name, title, shape, files, fetch, ...entry }: ReturnType<typeof listed>): string {
  const may = entry.trainOptional
    ? "the train files"
    : entry.testOptional
      ? "the test files"
      : entry.extraOptional
        ? "the extra file"
        : undefined;
  const optional = may === undefined ? "" : `; ${may} may be absent`;
  const [train, all] = [entry.trainCount ?? 0, (entry.trainCount ?? 0) + (entry.testCount ?? 0)];
  const lines = [
    title,
    ...(shape === null
      ? []
      : [`${shapeText(shape)}, ${entry.classes} classes, train 0:${train}, test ${train}:${all}`]),
    files.length === 0
      ? "needs no files"
      : `needs ${files.join(", ")}${entry.extraOptional ? "" : " (each plain or .gz)"}${optional}`,
    ...(entry.python.length === 0 ? [] : [`   or the Python version's ${shortList(entry.python)}`]),
    ...fetch.map((source) => `widefield data fetch ${source}`),
  ];
  return `${name.padEnd(10)}${lines.join(`\n${" ".repeat(10)}`)}\n`;
}

function folderListText(): string {
  const { name, title, files } = IMAGE_FOLDER;
  return `${name.padEnd(10)}${title}\n${" ".repeat(10)}needs ${files.join(", ")} (.jpg and .png too), for training only\n`;
}

/** "data_batch_1 .. data_batch_5, test_batch". */
function shortList(names: readonly string[]): string {
  const [first = "", ...others] = names;
  const [beforeLast, last] = others.slice(-2);
  return others.length > 2 ? `${first} .. ${beforeLast ?? ""}, ${last ?? ""}` : names.join(", ");
}

function verifyText(report: VerifyReport): string {
  const lines = [
    `${report.name}: images of ${shapeText(report.shape)}, ${report.classes} classes`,
    ...partLines("train", 0, report.train),
    ...partLines("test", report.train.count, report.test),
    ...report.files.map(fileLine),
    ...report.notes.map((note) => `note    ${note}`),
    `sha256  ${report.sha256}`,
  ];
  return `${lines.join("\n")}\n`;
}

function partLines(name: string, start: number, { count, labels, pixels }: PartReport): string[] {
  if (pixels === undefined) return [`${name.padEnd(6)}  none`];
  const shown = (value: number) => (Math.abs(value) < 1e6 ? value.toFixed(4) : value.toExponential(4));
  const values = `pixels ${shown(pixels.min)} to ${shown(pixels.max)}, mean ${shown(pixels.mean)}`;
  // One's own labels may leave most numbers out.
  const counts = labels.flatMap((images, label) => (images === 0 ? [] : [`${label}: ${images}`]));
  return [
    `${name.padEnd(6)}  ${count} images, ${start}:${start + count}, ${values}`,
    `        by label: ${counts.join(", ")}`,
  ];
}

function fileLine({ path, bytes, sha256, published, packedSha256, records }: FileReport): string {
  const unknown =
    packedSha256 === undefined
      ? "no published digest known"
      : "cannot be compared, the published file's digest is known only packed";
  const verdict = { same: "as published", different: "NOT AS PUBLISHED", unknown };
  const counted = records === undefined ? "" : `${records.count} of ${records.published} records, `;
  return `file    ${path}: ${counted}${bytes} bytes unpacked, sha256 ${sha256}: ${verdict[published]}`;
}
