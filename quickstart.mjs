/** The first thing to run: the ConvNet GP on the built-in digits, and a page about it. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { prepare } from "./prepare.mjs";

prepare();
const page = "quickstart.html";
const args = ["gp", "--data", "digits", "--arch", "convnet-gp", "--train", "0:1000", "--validation", "1000:1500"];
console.log(`widefield ${args.join(" ")} --test 60000:60500 --report ${page}\n`);
const cli = fileURLToPath(new URL("dist/cli.js", import.meta.url));
const result = spawnSync(process.execPath, [cli, ...args, "--test", "60000:60500", "--report", page], {
  stdio: "inherit",
});
if (result.status === 0) console.log(`\nThe report is in ${page}: open it in a browser.`);
process.exitCode = result.status ?? 1;
