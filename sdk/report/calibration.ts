/** How far a classifier's scores can be believed: predictions sorted into bins by the score of the predicted class. */
import { WidefieldError } from "../errors.ts";

export interface CalibrationBin {
  /** Mean score of the predicted class in this bin; 0 in an empty one. */
  readonly confidence: number;
  /** Share of the bin's predictions that are right. */
  readonly accuracy: number;
  readonly count: number;
}

/**
 * Bins of equal width over [0, 1].
 *
 * @param scores [n, classes], each row non-negative with sum 1
 * @param labels [n], the true classes
 * @throws WidefieldError E_SHAPE if the sizes do not fit, E_DATA if a score lies outside [0, 1]
 */
export function calibrationBins(scores: ArrayLike<number>, labels: ArrayLike<number>, binCount = 10): CalibrationBin[] {
  const classes = labels.length === 0 ? 0 : scores.length / labels.length;
  if (!Number.isInteger(classes)) {
    throw new WidefieldError(
      "E_SHAPE",
      `${scores.length} scores are not a whole number for each of ${labels.length} images`,
    );
  }
  const bins = Array.from({ length: binCount }, () => ({ score: 0, right: 0, count: 0 }));
  for (let i = 0; i < labels.length; i++) {
    let predicted = 0;
    let best = -Infinity;
    for (let c = 0; c < classes; c++) {
      const score = scores[i * classes + c] ?? Number.NaN;
      if (!(score >= 0 && score <= 1 + 1e-9))
        throw new WidefieldError("E_DATA", `the score of image ${i} for class ${c} is ${score}, not in [0, 1]`);
      if (score > best) [best, predicted] = [score, c];
    }
    const bin = bins[Math.min(binCount - 1, Math.floor(best * binCount))];
    if (bin === undefined) continue;
    bin.score += best;
    bin.count++;
    if (predicted === labels[i]) bin.right++;
  }
  return bins.map(({ score, right, count }) => ({
    confidence: count === 0 ? 0 : score / count,
    accuracy: count === 0 ? 0 : right / count,
    count,
  }));
}

/** Expected calibration error: the mean distance of accuracy from confidence, weighted by the bins' counts. */
export function calibrationError(bins: readonly CalibrationBin[]): number {
  const total = bins.reduce((sum, { count }) => sum + count, 0);
  const weighted = bins.reduce((sum, bin) => sum + bin.count * Math.abs(bin.accuracy - bin.confidence), 0);
  return total === 0 ? 0 : weighted / total;
}
