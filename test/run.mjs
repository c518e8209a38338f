/**
 * `npm test`: installs and builds what is missing, then runs every test, with SwiftShader as the GPU. It ends with
 * vitest's own summary and one line, "N passed, N failed"; the exit code is not 0 unless all passed.
 *
 *     npm test                                every test
 *     npm test -- sdk/linalg -t "jitter"      what vitest selects by these arguments
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { prepare } from "../prepare.mjs";

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Tests that passed and that failed; where vitest failed before it came to any, the suites that broke (or 1). */
function count({ numPassedTests, numFailedTests, numPendingTests, numFailedTestSuites }, status) {
  const broken = status === 0 ? 0 : Math.max(1, numFailedTestSuites);
  return { passed: numPassedTests, failed: numFailedTests > 0 ? numFailedTests : broken, skipped: numPendingTests };
}

prepare();
// Installed only now.
const { swiftshaderEnvironment } = await import("./swiftshader.mjs");

const results = at("build/test-results.json");
mkdirSync(at("build"), { recursive: true });
rmSync(results, { force: true });
const given = process.argv.slice(2);
const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${results}`];
const { status } = spawnSync(process.execPath, [at("node_modules/vitest/vitest.mjs"), "run", ...reporters, ...given], {
  cwd: at("."),
  stdio: ["ignore", "inherit", "inherit"],
  // The linker and the Vulkan loader read their variables when a process starts.
  env: { ...process.env, ...swiftshaderEnvironment(), CI: "true" },
});

let outcome = { passed: 0, failed: 1, skipped: 0 };
try {
  outcome = count(JSON.parse(readFileSync(results, "utf8")), status);
} catch (error) {
  console.error(`vitest left no results: ${error.message}`);
}
// Tests on published data sets and reference kernels are skipped where those are not on the disk; their synthetic twins
// always run.
const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : "";
console.log(`${outcome.passed} passed, ${outcome.failed} failed${skipped}`);
process.exitCode = outcome.failed > 0 ? 1 : 0;
