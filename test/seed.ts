/** Seeds of tests that draw fresh inputs in every run, and how a run that failed is done again. */
import { beforeEach } from "vitest";

/** The environment variable that holds a seed to use instead of a fresh one. */
const VARIABLE = "WIDEFIELD_TEST_SEED";

/**
 * The seed of a test file, called once at its top level: 31 fresh bits, or those of a run to be done again. Every test of
 * the file that fails names it. A generator that all tests of a file share has to be run through all of them again.
 */
export function freshSeed(): number {
  const given = process.env[VARIABLE];
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
  beforeEach(({ onTestFailed }) => {
    onTestFailed(({ task }) => {
      for (const error of task.result?.errors ?? [])
        error.message += `\n(${VARIABLE}=${seed} runs the file with this seed)`;
    });
  });
  return seed;
}
