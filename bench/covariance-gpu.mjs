/**
 * ConvNet GP pairs per second on a GPU: a line of pixels a lane against a pixel a lane, in alternation.
 *
 *     node bench/covariance-gpu.mjs [--swiftshader] [--images 32] [--rounds 5] [--adapter NAME]
 */
import { spawn } from "node:child_process";
import { fileURLToPath, pathToFileURL } from "node:url";
import esbuild from "esbuild";
import { swiftshaderEnvironment } from "../test/swiftshader.mjs";

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

if (process.argv.includes("--swiftshader")) {
  const args = process.argv.slice(1).filter((argument) => argument !== "--swiftshader");
  const child = spawn(process.execPath, args, {
    stdio: "inherit",
    env: { ...process.env, ...swiftshaderEnvironment() },
  });
  child.on("exit", (code) => (process.exitCode = code ?? 1));
} else {
  const outfile = at("build/covariance-gpu.mjs");
  await esbuild.build({
    entryPoints: [at("bench/covariance-gpu.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    loader: { ".wgsl": "text" },
    logLevel: "error",
  });
  await import(pathToFileURL(outfile).href);
}
