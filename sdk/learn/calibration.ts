/**
 * Calibrated class scores from posterior means: softmax(mean / temperature), with the temperature that maximises the
 * likelihood of held-out labels (Guo et al. 2017, section 4.2). One number, so the ranking of the classes stays.
 */
import { WidefieldError } from "../errors.ts";

/** softmax(mean / temperature) row by row, [n, classes]. */
export function scores(mean: Float64Array, classes: number, temperature: number): Float64Array {
  const out = new Float64Array(mean.length);
  for (let row = 0; row < mean.length; row += classes) {
    let largest = -Infinity;
    for (let c = 0; c < classes; c++) largest = Math.max(largest, mean[row + c] ?? Number.NaN);
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      const weight = Math.exp(((mean[row + c] ?? Number.NaN) - largest) / temperature);
      out[row + c] = weight;
      sum += weight;
    }
    for (let c = 0; c < classes; c++) out[row + c] = (out[row + c] ?? Number.NaN) / sum;
  }
  return out;
}

/** Mean negative log-likelihood of the labels, in nats. */
export function logLoss(probabilities: Float64Array, classes: number, labels: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < labels.length; i++) {
    const p = probabilities[i * classes + (labels[i] ?? Number.NaN)] ?? Number.NaN;
    sum -= Math.log(Math.max(p, Number.MIN_VALUE));
  }
  return sum / labels.length;
}

/** Between these a temperature is looked for. */
const TEMPERATURES = [1e-3, 1e3] as const;

/** Whether a fitted temperature is but the end of where it was looked for: all held-out labels right, or hopeless. */
export function isAtBound(temperature: number): boolean {
  return temperature < TEMPERATURES[0] * 1.01 || temperature > TEMPERATURES[1] / 1.01;
}

/** Golden ratio's inverse. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * The temperature with the least log loss on held-out means, between 1e-3 and 1e3, to 1e-6 relative. The loss is convex
 * in 1 / temperature, so a golden-section search finds its minimum. Throws E_SHAPE without held-out labels.
 */
export function fitTemperature(mean: Float64Array, classes: number, labels: ArrayLike<number>): number {
  if (labels.length === 0 || mean.length !== labels.length * classes)
    throw new WidefieldError("E_SHAPE", `${mean.length} means and ${labels.length} labels of ${classes} classes`);
  const loss = (logTemperature: number) => logLoss(scores(mean, classes, Math.exp(logTemperature)), classes, labels);
  let [low, high] = [Math.log(TEMPERATURES[0]), Math.log(TEMPERATURES[1])];
  let [a, b] = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)];
  let [lossA, lossB] = [loss(a), loss(b)];
  while (high - low > 1e-6) {
    if (lossA <= lossB) {
      [high, b, lossB] = [b, a, lossA];
      a = high - GOLDEN * (high - low);
      lossA = loss(a);
    } else {
      [low, a, lossA] = [a, b, lossB];
      b = low + GOLDEN * (high - low);
      lossB = loss(b);
    }
  }
  return Math.exp((low + high) / 2);
}
