/** `widefield sweep nn`, `rf`, `nt` and `myrtle`: trained models over noise levels and ridges. */
import { Command, Option } from "commander";
import { WidefieldError } from "../sdk/errors.ts";
import { runWideSweep, wideCells, type WideSweep } from "../sdk/experiments/sweep-wide.ts";
import { wideLambdas } from "../sdk/experiments/wide-lambdas.ts";
import { PAPER_CG, PAPER_STEPS, wideLine, type WideLoss, type WideModel } from "../sdk/experiments/wide-models.ts";
import type { WideName } from "../sdk/learn/wide/paper.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { parseShard } from "./inputs.ts";
import { lambdasOf } from "./krr.ts";
import { addProblem, openProblemOf, problemName, problemSettings, unionOf, type ProblemOptions } from "./krr-inputs.ts";
import {
  addEngineOptions,
  positiveNumber,
  wholeNumber,
  withEngine,
  withSession,
  type CommonOptions,
  type Session,
} from "./session.ts";
import {
  addSweepOptions,
  levelsOf,
  requireGrid,
  printResults,
  rangeText,
  requirePlace,
  rowText,
  type SweepOptions,
} from "./sweep-results.ts";

interface SweepWideOptions extends CommonOptions, ProblemOptions, SweepOptions {
  readonly width: string;
  readonly hidden?: string;
  readonly dropout?: string;
  readonly solver?: "cg" | "adam";
  readonly iterations?: string;
  readonly tolerance?: string;
  readonly epochs?: string;
  readonly rate?: string;
  readonly batch?: string;
  readonly loss?: "square" | "cross-entropy";
}

const MODELS: Readonly<Record<WideName, string>> = {
  nn: "fully connected networks in the mean-field scaling, trained by gradient descent with momentum",
  rf: "random features: relu of fixed random directions, with a trained read-out",
  nt: "neural tangent models: random features, and the first layer's weights to first order",
  myrtle: "the CNN of the myrtle5 kernel, trained by gradient descent with momentum",
};

export function sweepWideCommands(): Command[] {
  return Object.entries(MODELS).map(([name, description]) => sweepWideCommand(name as WideName, description));
}

function sweepWideCommand(name: WideName, description: string): Command {
  const command = new Command(name).description(description);
  addEngineOptions(addProblem(command, { levels: true }))
    .option("--grid <name>", "paper: levels and ridges of Ghorbani et al. 2020, where not given")
    .option("--levels <list>", "noise levels and half-open ranges of them: 0:15, or 0,7,14 (of synth: 10 x kappa)")
    .option("--lambda <grid>", "ridges: low:high:count (geometric), a list, or paper (by problem and model)")
    .option(
      "--width <n>",
      name === "myrtle" ? "channels" : "hidden units of a layer",
      name === "myrtle" ? "128" : "4096",
    );
  if (name === "nn")
    command
      .option("--hidden <n>", "hidden layers (default: 1)")
      .option("--dropout <p>", "part of the hidden units that are left out in training (default: 0)");
  if (name === "rf" || name === "nt")
    command
      .addOption(
        new Option(
          "--solver <name>",
          "cg: least squares by conjugate gradients, all ridges at once; adam: step by step",
        )
          .choices(["cg", "adam"])
          .default("cg"),
      )
      .option("--iterations <n>", `of conjugate gradients, at most (default: ${PAPER_CG.maxIterations})`)
      .option("--tolerance <x>", `relative residual at which they stop (default: ${PAPER_CG.tolerance})`);
  command
    .option(
      "--epochs <n>",
      `of training step by step; in the first the paper's rate is 0 (default: ${PAPER_STEPS.epochs})`,
    )
    .option("--rate <x>", `learning rate, before the paper's schedule (default: ${PAPER_STEPS.rate})`)
    .option("--batch <n>", "images of a batch (default: the paper's, by problem and epoch)")
    .addOption(
      new Option(
        "--loss <name>",
        "of training step by step; square: summed over outputs; cross-entropy: the squared errors that are recorded are " +
          "the probabilities' (default: square)",
      ).choices(["square", "cross-entropy"]),
    );
  return addSweepOptions(command).action((options: SweepWideOptions, self: Command) => run(name, options, self));
}

async function run(name: WideName, options: SweepWideOptions, command: Command): Promise<void> {
  const { test, out } = options;
  requirePlace(options, command);
  const shard = options.shard === undefined ? undefined : parseShard(options.shard);
  if (options.dryRun === true) {
    const seed = options.seed === undefined ? 0 : wholeNumber("--seed", options.seed);
    const grid = gridOf(name, options, seed);
    await withSession(options, async (session) => dryRun(grid, session));
    return;
  }
  await withEngine(options, async (engine, session) => {
    const grid = gridOf(name, options, engine.seed);
    const { train } = options;
    const folder = await runWideSweep({
      ...{ engine, shard, signal: session.signal },
      ...grid,
      settings: problemSettings(options, engine),
      open: (level) => openProblemOf(options, engine, session, unionOf({ train, test }), level),
      ...{ train, test: test ?? "" },
      files: await nodeFiles(),
      path: out ?? "",
      onProgress: ({ cell, label, detail, done, total }) =>
        session.progress.update(`${cell} ${label}`, done, total, detail),
      onCells: (row, done, total) => {
        if (row !== undefined) session.note(`${done} of ${total}: ${rowText(row)}`);
        else if (done > 0) session.note(`${done} of ${total} fits were finished already`);
      },
    });
    const { problem, model } = grid;
    const title = {
      title: `${wideLine(model)} on ${problem}`,
      subtitle: [`train ${train}, test ${test ?? ""}; each point at the lambda of least test error`],
      ...{ problem, train, test: test ?? "" },
    };
    await printResults(folder, title, session);
    if (folder.rows.every(({ status }) => status === "failed")) process.exitCode = 1;
  });
}

type Grid = Pick<WideSweep, "problem" | "levels" | "model" | "lambdas">;

/** Levels, ridges and the model. Throws E_CONFIG for what cannot be meant, or is not given and has no default. */
function gridOf(name: WideName, options: SweepWideOptions, seed: number): Grid {
  const problem = problemName(options);
  requireGrid(options, ["levels", "lambda"]);
  const model = modelOf(name, options, seed);
  const { lambda } = options;
  return {
    ...{ problem, model, levels: levelsOf(options.levels, problem) },
    lambdas: lambda === undefined || lambda === "paper" ? wideLambdas(name, problem, model.hidden) : lambdasOf(lambda),
  };
}

/** Options of the other way to fit, which would change nothing. */
const ONLY_CG = ["iterations", "tolerance"] as const;
const ONLY_STEPS = ["epochs", "rate", "batch", "loss"] as const;

function modelOf(name: WideName, options: SweepWideOptions, seed: number): WideModel {
  const { hidden, dropout, solver } = options;
  const useless = (solver === "cg" ? ONLY_STEPS : ONLY_CG).find((one) => options[one] !== undefined);
  if (useless !== undefined)
    throw new WidefieldError(
      "E_CONFIG",
      solver === "cg"
        ? `--${useless} is of training step by step: choose --solver adam, or leave it out`
        : `--${useless} is of conjugate gradients: choose --solver cg, or leave it out`,
    );
  return {
    ...{ name, seed, width: wholeNumber("--width", options.width) },
    hidden: hidden === undefined ? undefined : wholeNumber("--hidden", hidden),
    dropout: dropout === undefined ? undefined : positiveNumber("--dropout", dropout),
    fit: solver === "cg" ? cgOf(options) : stepsOf(options),
  };
}

function cgOf({ iterations, tolerance }: SweepWideOptions): WideModel["fit"] {
  return {
    ...PAPER_CG,
    ...(iterations === undefined ? {} : { maxIterations: wholeNumber("--iterations", iterations) }),
    ...(tolerance === undefined ? {} : { tolerance: positiveNumber("--tolerance", tolerance) }),
  };
}

function stepsOf({ epochs, rate, batch, loss }: SweepWideOptions): WideModel["fit"] {
  const named: WideLoss = loss === "cross-entropy" ? "crossEntropy" : "square";
  return {
    ...PAPER_STEPS,
    loss: named,
    ...(epochs === undefined ? {} : { epochs: wholeNumber("--epochs", epochs) }),
    ...(rate === undefined ? {} : { rate: positiveNumber("--rate", rate) }),
    ...(batch === undefined ? {} : { batch: wholeNumber("--batch", batch) }),
  };
}

function dryRun(grid: Grid, session: Session): void {
  const cells = wideCells(grid);
  if (session.json) {
    session.print(JSON.stringify({ ...grid, cells: cells.map(({ name }) => name) }));
    return;
  }
  const { problem, levels, model, lambdas } = grid;
  session.print(`${wideLine(model)} on ${problem}: ${cells.length} fits, levels ${levels.join(" ")}`);
  session.print(`${lambdas.length} lambdas, ${rangeText(lambdas)}`);
}
