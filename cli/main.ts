#!/usr/bin/env node
/** The command line: mounts the commands, and turns errors into messages and exit codes. */
import { Command, CommanderError } from "commander";
import { version, WidefieldError } from "../sdk/index.node.ts";
import { messageOf } from "../sdk/errors.ts";
import { archCommand } from "./arch.ts";
import { benchCommand } from "./bench.ts";
import { compareCommand } from "./compare.ts";
import { convergeCommand } from "./converge.ts";
import { dataCommand } from "./data.ts";
import { gpCommand } from "./gp.ts";
import { infoCommand } from "./info.ts";
import { kernelCommand } from "./kernel.ts";
import { krrCommand } from "./krr.ts";
import { enableRelaxedSimd } from "./relaxed-simd.ts";
import { recipeCommand } from "./recipe.ts";
import { searchCommand } from "./search.ts";
import { selftestCommand } from "./selftest.ts";
import { sweepCommand } from "./sweep.ts";
import { trainCommand } from "./train.ts";

/** 1: bad input; 2: usage; 130: Ctrl-C. */
function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
  return thrown instanceof WidefieldError && thrown.code === "E_ABORTED" ? 130 : 1;
}

enableRelaxedSimd();

const program = new Command("widefield")
  .description("neural networks at infinite and at finite width, on WebGPU and WebAssembly")
  .version(version)
  .option("--debug", "print stack traces of errors")
  .addCommand(gpCommand())
  .addCommand(kernelCommand())
  .addCommand(krrCommand())
  .addCommand(searchCommand())
  .addCommand(sweepCommand())
  .addCommand(trainCommand())
  .addCommand(recipeCommand())
  .addCommand(compareCommand())
  .addCommand(archCommand())
  .addCommand(convergeCommand())
  .addCommand(dataCommand())
  .addCommand(infoCommand())
  .addCommand(benchCommand())
  .addCommand(selftestCommand())
  .showHelpAfterError("(add --help for what there is)")
  .exitOverride();
for (const command of program.commands) {
  command.exitOverride();
  for (const sub of command.commands) sub.exitOverride();
}

// Somebody who closes the pipe (| head) has read enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (thrown) {
  process.exitCode = exitCodeOf(thrown);
  if (!(thrown instanceof CommanderError)) {
    const debug = program.opts<{ debug?: true }>().debug === true;
    const code = thrown instanceof WidefieldError ? ` [${thrown.code}]` : "";
    const text = debug && thrown instanceof Error ? (thrown.stack ?? thrown.message) : messageOf(thrown);
    process.stderr.write(`widefield: ${text}${code}\n`);
  }
}
