/** Grids of ridges and noise levels: as text, and those of Ghorbani et al. 2020 (arXiv 2006.13409). */
import { noiseLevels, problemNames } from "../data/problems.ts";
import { WidefieldError } from "../errors.ts";

const MOST = 10_000;

/**
 * "1e-1:1e5:20": 20 numbers from 0.1 to 100,000, each the same multiple of the last. "0,0.1,10": these. "3": that one.
 * Throws E_CONFIG.
 */
export function parseLambdas(text: string): readonly number[] {
  const parts = text.split(",").flatMap((part) => {
    const [low = "", high, count, ...rest] = part.split(":");
    if (high === undefined) return [number(text, low)];
    if (count === undefined || rest.length > 0)
      throw refusal(text, `"${part.trim()}" is neither a number nor a grid low:high:count`);
    const [from, to, size] = [number(text, low), number(text, high), number(text, count)];
    if (!(from > 0 && to > 0)) throw refusal(text, `a geometric grid goes from one positive number to another`);
    if (!(Number.isSafeInteger(size) && size >= 1 && size <= MOST))
      throw refusal(text, `a grid has a whole number of points, from 1 to ${MOST}, not ${count.trim()}`);
    return geometric(Math.log10(from), Math.log10(to), size, [from, to]);
  });
  return parts;
}

function number(text: string, part: string): number {
  const value = part.trim() === "" ? Number.NaN : Number(part);
  if (Number.isFinite(value)) return value;
  throw refusal(text, `"${part.trim()}" is not a number`);
}

function refusal(text: string, problem: string): WidefieldError {
  return new WidefieldError(
    "E_CONFIG",
    `lambda "${text}": ${problem}; write low:high:count (1e-1:1e5:20), a list (0.1,1,10), or one number`,
  );
}

/**
 * 10^linspace(from, to, count); the ends are those given, where they are. Twelve digits: powers differ in their last bits
 * between runtimes, and a sweep's folder must not.
 */
export function geometric(from: number, to: number, count: number, ends?: readonly [number, number]): number[] {
  const step = count > 1 ? (to - from) / (count - 1) : 0;
  return Array.from({ length: count }, (_, i) => {
    if (i === 0) return ends?.[0] ?? rounded(10 ** from);
    if (i === count - 1) return ends?.[1] ?? rounded(10 ** to);
    return rounded(10 ** (from + i * step));
  });
}

function rounded(value: number): number {
  return Number(value.toPrecision(12));
}

/**
 * The paper's grid for a problem, named as on the command line, and whether the kernel is the three-layer NTK. Problems
 * that the paper does not have take Fashion-MNIST's.
 */
export function paperLambdas(problem: string, threeLayers: boolean): readonly number[] {
  if (problem.startsWith("cifar2")) return [...geometric(-2, 4, 20), ...geometric(4.2, 10, 20)];
  if (problem.startsWith("cifar10")) return geometric(-6, 1, 20);
  if (problem.startsWith("synth")) return geometric(0, 6, 10);
  return threeLayers ? geometric(-4, 3, 20) : geometric(-1, 5, 20);
}

/** Constants of the paper's polynomial kernels: 2^linspace(-3, 3, 10). */
export const PAPER_CONSTANTS: readonly number[] = Array.from({ length: 10 }, (_, i) =>
  rounded(2 ** (-3 + (6 * i) / 9)),
);

/** kappa = 0, 0.1, .., 0.9. */
const SYNTH_LEVELS = 10;

/**
 * The noise levels of a problem, from 0 on, none where it has no noise; of `synth`, level i is kappa = i / 10. Throws
 * E_CONFIG for an unknown problem.
 */
export function paperLevels(problem: string): readonly number[] {
  const count = problem.toLowerCase() === "synth" ? SYNTH_LEVELS : noiseLevels(problem).length;
  return Array.from({ length: count }, (_, level) => level);
}

/** Throws E_CONFIG for levels that a problem with a name of `problemNames` does not have; others are the caller's own. */
export function requireLevels(problem: string, levels: readonly number[]): void {
  if (!problemNames().includes(problem.toLowerCase())) return;
  const { length } = paperLevels(problem);
  if (length === 0)
    throw new WidefieldError(
      "E_CONFIG",
      `${problem} has no noise that could have levels: choose ${problem}-hf or ${problem}-lf`,
    );
  const bad = levels.find((level) => !(Number.isSafeInteger(level) && level >= 0 && level < length));
  if (bad !== undefined)
    throw new WidefieldError("E_CONFIG", `level ${bad} is out of range: ${problem} has levels 0 to ${length - 1}`, {
      details: { level: bad, levels: length },
    });
}
