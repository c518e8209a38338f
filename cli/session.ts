/**
 * What every command shares: the common options, the engine they open, Ctrl-C, and what goes to stdout and stderr.
 * Results go to stdout (with --json as one object), everything else to stderr.
 */
import { type Command, Option } from "commander";
import { open, type Engine, WidefieldError } from "../sdk/index.node.ts";
import { ProgressLine } from "./progress.ts";

export interface CommonOptions {
  readonly backend: "auto" | "webgpu" | "wasm";
  readonly adapter?: string;
  readonly threads?: string;
  readonly memory?: string;
  readonly seed?: string;
  readonly json?: true;
  readonly quiet?: true;
}

export interface Session {
  readonly json: boolean;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly progress: ProgressLine;
  /** A line on stdout. */
  print(line: string): void;
  /** A line on stderr, unless --quiet. */
  note(line: string): void;
}

export function addEngineOptions(command: Command): Command {
  return addOutputOptions(command)
    .addOption(
      new Option("--backend <name>", "where to compute; auto: a hardware GPU, else wasm")
        .choices(["auto", "webgpu", "wasm"])
        .default("auto"),
    )
    .option("--adapter <name>", "part of a GPU's name; software adapters are used only when named")
    .option("--threads <n>", "threads of the wasm backend (default: all cores)")
    .option("--memory <bytes>", "what may be held at once, such as 2GB (default: half the machine's memory)")
    .option("--seed <n>", "seed of random streams (default: 0)");
}

export function addOutputOptions(command: Command): Command {
  return command
    .option("--json", "print one JSON object on stdout")
    .option("--quiet", "no progress and no notes on stderr");
}

/** Opens the engine, runs, and closes it whatever happens. */
export async function withEngine<T>(
  options: CommonOptions,
  run: (engine: Engine, session: Session) => Promise<T>,
): Promise<T> {
  return withSession(options, async (session) => {
    const engine = await open({
      backend: options.backend,
      adapter: options.adapter,
      threads: options.threads === undefined ? undefined : wholeNumber("--threads", options.threads),
      memory: options.memory,
      seed: options.seed === undefined ? undefined : wholeNumber("--seed", options.seed),
      log: (line) => session.note(line),
    });
    try {
      return await run(engine, session);
    } finally {
      await engine.close();
    }
  });
}

export async function withSession<T>(
  options: Pick<CommonOptions, "json" | "quiet">,
  run: (session: Session) => Promise<T>,
): Promise<T> {
  const quiet = options.quiet === true;
  const progress = new ProgressLine(quiet);
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(130);
    if (!quiet) progress.note("stopping after what is under way; Ctrl-C again to stop at once");
    controller.abort();
  };
  process.on("SIGINT", interrupt);
  try {
    return await run({
      json: options.json === true,
      signal: controller.signal,
      progress,
      print: (line) => {
        progress.clear();
        process.stdout.write(`${line}\n`);
      },
      note: (line) => {
        if (!quiet) progress.note(line);
      },
    });
  } finally {
    process.removeListener("SIGINT", interrupt);
    progress.stop();
  }
}

export function wholeNumber(name: string, text: string): number {
  if (/^\d+$/.test(text.trim())) return Number(text);
  throw new WidefieldError("E_CONFIG", `${name} is a whole number, not "${text}"`);
}

/** "0.5" and "1e-6", but not "", "abc" or a negative number. */
export function positiveNumber(name: string, text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new WidefieldError("E_CONFIG", `${name} is a number from 0 on, not "${text}"`);
}
