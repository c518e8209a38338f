/** `widefield train`: a network by stochastic gradients, hard thresholds by target propagation. */
import { Command } from "commander";
import type { Json } from "../sdk/covariance/store/manifest.ts";
import { open, type Engine } from "../sdk/engine/engine.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { hasTargets } from "../sdk/experiments/nonlinearities.ts";
import { archOf, type TrainImages } from "../sdk/experiments/train-parts.ts";
import { runTraining, testModel, type TrainExperimentResult } from "../sdk/experiments/train.ts";
import type { TrainSettings } from "../sdk/experiments/train-settings.ts";
import { version } from "../sdk/index.node.ts";
import type { EpochRecord, Scores } from "../sdk/learn/training-state.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { replaceFile, type Files } from "../sdk/platform/files.ts";
import { commandLine } from "./command-line.ts";
import { formatDuration, formatRate, table } from "./format.ts";
import { positiveNumber, wholeNumber, withEngine, type Session } from "./session.ts";
import { openTrainImages } from "./train-images.ts";
import {
  addRunOptions,
  addSettingsOptions,
  settingsOf,
  type RunOptions,
  type SettingsOptions,
} from "./train-options.ts";

export function trainCommand(): Command {
  const command = new Command("train").description("train a network, with relus or with hard thresholds");
  return addRunOptions(addSettingsOptions(command)).action(async (options: SettingsOptions & RunOptions) => {
    await runTrain(await settingsOf(options), options);
  });
}

/** A run of settings, from wherever they come. */
export async function runTrain(settings: TrainSettings, options: RunOptions): Promise<void> {
  const { gpus = [] } = options;
  const [firstGpu, ...otherGpus] = gpus.flatMap((text) => text.split(","));
  const engineOptions =
    firstGpu === undefined ? options : { ...options, backend: "webgpu" as const, adapter: firstGpu };
  await withEngine(engineOptions, async (engine, session) => {
    const replicas: Engine[] = [];
    try {
      for (const adapter of otherGpus) replicas.push(await open({ backend: "webgpu", adapter, log: engine.log }));
      const images = await openTrainImages(settings, options, session);
      if (options.testModel === undefined)
        await trainAndReport({ engine, replicas, session, settings, images }, options);
      else await testAndReport({ engine, session, settings, images }, options, options.testModel);
    } finally {
      for (const replica of replicas) await replica.close();
    }
  });
}

interface Run {
  readonly engine: Engine;
  readonly session: Session;
  readonly settings: TrainSettings;
  readonly images: TrainImages;
}

async function trainAndReport(
  { engine, replicas, session, settings, images }: Run & { readonly replicas: readonly Engine[] },
  options: RunOptions,
): Promise<void> {
  const { signal, progress } = session;
  const files = await nodeFiles();
  // A network that these images do not fit is refused before there is a folder for it.
  archOf(settings, images.source);
  const path = await folderOf(files, settings, options);
  if (path !== undefined) session.note(`checkpoints and records: ${path}`);
  const started = performance.now();
  const result = await runTraining({
    ...{ engine, settings, images, replicas, signal },
    ...{ workers: wholeNumber("--nworkers", options.nworkers), skipBad: options.skipBad },
    folder: path === undefined ? undefined : { files, path },
    resume: options.resume !== undefined,
    tensorBoard: options.tbLog,
    diagnostics:
      options.diagnostics === true
        ? {
            sample: positiveNumber("--tb-sample-pct", options.tbSamplePct),
            drop: positiveNumber("--tb-drop-pct", options.tbDropPct),
          }
        : undefined,
    onProgress: ({ epoch, epochs, batch, batches, scores, examplesPerSecond }) => {
      const detail = `loss ${scores.loss.toFixed(4)}  ${formatRate(examplesPerSecond, "images/s")}`;
      progress.update(`epoch ${epoch}/${epochs}`, (epoch - 1) * batches + batch, epochs * batches, detail);
    },
    onEpoch: (record) => session.note(epochText(record)),
  });
  const facts = {
    command: commandLine(),
    widefield: version,
    settings: settings as Json,
    backend: engine.info as never,
  };
  const seconds = (performance.now() - started) / 1000;
  if (path !== undefined)
    await writeRecords(files, path, { title: titleOf(settings), result, facts: { ...facts, seconds } });
  if (session.json) session.print(JSON.stringify({ ...result, ...facts, seconds, folder: path ?? null }));
  else session.print(summaryText(result, { settings, seconds, path }));
}

async function testAndReport(
  { engine, session, settings, images }: Run,
  options: RunOptions,
  from: string,
): Promise<void> {
  const workers = wholeNumber("--nworkers", options.nworkers);
  const { signal } = session;
  const files = await nodeFiles();
  const found = await testModel({ engine, settings, images, workers, skipBad: options.skipBad, files, from, signal });
  if (session.json) session.print(JSON.stringify({ ...found, model: from }));
  else session.print(`test images, model of epoch ${found.epoch}: ${scoresText(found.test)}`);
}

/** Where a run goes: as asked for, else a folder that its settings name. Throws E_CONFIG for two answers. */
async function folderOf(files: Files, settings: TrainSettings, options: RunOptions): Promise<string | undefined> {
  const { save, resume, logInfo } = options;
  if (resume !== undefined) {
    if (save !== undefined && save !== resume)
      throw new WidefieldError("E_CONFIG", "--resume goes on in its own folder: leave --save and --no-save out");
    return resume;
  }
  if (save === false) return undefined;
  const info = logInfo === undefined ? "" : `.${logInfo}`;
  if (save !== undefined) return `${save}${info}`;
  await files.makeFolder("logs");
  await files.makeFolder(`logs/${settings.ds}`);
  return `logs/${settings.ds}/${titleOf(settings)}${info}`;
}

/** "convnet4.crossent.adam_lr0.00025_wd0.0005.step11-SoftHinge", as the published script names its runs. */
function titleOf({
  arch,
  useBn,
  loss,
  opt,
  lr,
  momentum,
  wtdecay,
  nonlin,
  tpRule,
  tpGradScale,
  val,
}: TrainSettings): string {
  const net = typeof arch === "string" ? `${arch}${useBn ? "BN" : ""}` : "arch";
  const rate = `${opt}_lr${lr}${opt === "sgd" ? `_mu${momentum}` : ""}_wd${wtdecay}${val ? "" : "_noval"}`;
  const back = hasTargets(nonlin) ? `-${tpRule}${tpGradScale ? "" : "-ngs"}` : "";
  return [net, loss, rate, ...(typeof arch === "string" ? [`${nonlin}${back}`] : [])].join(".");
}

async function writeRecords(
  files: Files,
  path: string,
  { title, result, facts }: { readonly title: string; readonly result: TrainExperimentResult; readonly facts: object },
): Promise<void> {
  const text = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
  await replaceFile(files, `${path}/manifest.json`, text({ ...facts, ...result }));
  // Charts are large: they are loaded when there is something to draw.
  const [{ trainingSpec }, { saveFigure }] = await Promise.all([
    import("../sdk/report/training-chart.ts"),
    import("../sdk/report/figure.node.ts"),
  ]);
  await saveFigure(files, `${path}/training`, trainingSpec(result.history, { title }));
}

function percent(part: number): string {
  return `${(100 * part).toFixed(2)} %`;
}

function scoresText({ loss, accuracy, top5 }: Scores): string {
  const classes = accuracy === undefined ? [] : [`top-1 ${percent(accuracy)}`];
  return [`loss ${loss.toFixed(4)}`, ...classes, ...(top5 === undefined ? [] : [`top-5 ${percent(top5)}`])].join(", ");
}

function epochText({ epoch, training, validation, test, seconds, examplesPerSecond }: EpochRecord): string {
  const parts = [`training ${scoresText(training)}`];
  if (validation !== undefined) parts.push(`validation ${scoresText(validation)}`);
  if (test !== undefined) parts.push(`test ${scoresText(test)}`);
  return `epoch ${epoch}: ${parts.join("; ")}; ${formatDuration(seconds)}, ${formatRate(examplesPerSecond, "images/s")}`;
}

function summaryText(
  { history, best, final, images, parameters, badImages, resumedAt }: TrainExperimentResult,
  {
    settings,
    seconds,
    path,
  }: { readonly settings: TrainSettings; readonly seconds: number; readonly path: string | undefined },
): string {
  const last = history.at(-1);
  const rows: string[][] = [
    ["images", `${images.train} training, ${images.validation} validation, ${images.test} test`],
    ["parameters", String(parameters)],
    [
      "epochs",
      `${history.length}${resumedAt > 0 ? `, of which ${resumedAt} were there` : ""}, ${formatDuration(seconds)}`,
    ],
  ];
  if (last !== undefined) rows.push(["training", scoresText(last.training)]);
  if (last?.validation !== undefined) rows.push(["validation", scoresText(last.validation)]);
  if (best !== undefined) rows.push(["best validation", `${scoresText(best.scores)} (epoch ${best.epoch})`]);
  if (last?.test !== undefined) rows.push(["test", scoresText(last.test)]);
  if (final !== undefined) rows.push(["final test", `${scoresText(final.test)} (model of epoch ${final.epoch})`]);
  if (badImages.length > 0) rows.push(["left out", `${badImages.length} images that do not decode`]);
  if (path !== undefined) rows.push(["written to", path]);
  return `${titleOf(settings)} on ${settings.ds}\n${table(rows)}`;
}
