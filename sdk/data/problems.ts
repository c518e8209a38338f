/**
 * The regression problems that have names: datasets, datasets with noise in chosen frequencies (`fmnist-hf`,
 * `cifar10-lf`), and synthetic features (`synth`).
 */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { ReadFile } from "./idx.ts";
import type { Problem } from "./problem.ts";
import type { Ranges } from "./ranges.ts";

export interface ProblemOptions {
  readonly engine: Engine;
  readonly dataDir?: string | undefined;
  readonly readFile?: ReadFile | undefined;
  readonly noise?: "hf" | "lf" | undefined;
  readonly level?: number | undefined;
  readonly rng?: "counter" | "numpy" | undefined;
  readonly noiseSeed?: number | undefined;
  readonly kappa?: number | undefined;
  readonly seed?: number | undefined;
  readonly ranges?: Ranges | string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { label: string; done: number; total: number }) => void) | undefined;
}

export async function openProblem(name: string, options: ProblemOptions): Promise<Problem> {
  options.engine.assertOpen();
  throw new WidefieldError("E_CONFIG", `no problem is named "${name}"`);
}
