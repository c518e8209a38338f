/**
 * Losses of class scores against labels, with their gradients and the labels' ranks, in one pass over [rows, classes]:
 *
 *     losses[r]        the loss of row r
 *     gradient[r, k]   d losses[r] / d scores[r, k], times `scale`
 *     ranks[r]         how many classes come before the label: those of a larger score, and those of the same that stand
 *                      before it; a row whose label's score is NaN has rank `classes`
 *
 * A row that holds a NaN, or whose label is none of its classes, has loss NaN and gradient NaN: a run that diverges is seen.
 * Where a hinge has two derivatives, the gradient is 0. Cross-entropy and its gradient are accurate relative to themselves.
 *
 * Hinges have targets t = +1 for the label and -1 for other classes, m = t times the score, and are summed over classes;
 * `logHinge` takes log-softmax of the scores for the scores. float32.
 */
import { d, defineKernel } from "../schema.ts";
import { rowsOfLanes } from "./reduce.ts";

export const ClassLossOperation = {
  /** -log softmax(scores)[label] */
  crossEntropy: 0,
  /** sum of max(0, 1 - m) */
  hinge: 1,
  /** sum of max(0, 1 - m)^2 */
  squaredHinge: 2,
  /** sum of clamp(1 - m, 0, 2) */
  truncatedHinge: 3,
  /** sum of max(0, 1 - m), m = t log softmax(scores) */
  logHinge: 4,
} as const;

export type ClassLossName = keyof typeof ClassLossOperation;

export const classLoss = defineKernel({
  name: "classLoss",
  params: { rows: d.u32, classes: d.u32, operation: d.u32, scale: d.f32 },
  buffers: [
    { name: "scores", access: "read", element: "f32" },
    /** [rows], each below `classes`. */
    { name: "labels", access: "read", element: "u32" },
    { name: "losses", access: "write", element: "f32" },
    { name: "gradient", access: "write", element: "f32" },
    { name: "ranks", access: "write", element: "f32" },
  ],
  geometry: ({ rows, classes }, limits) => rowsOfLanes(rows, classes, limits),
  split: ({ rows, classes }) => ({
    items: rows,
    grain: Math.max(1, Math.floor(4096 / Math.max(1, classes))),
  }),
});
