/** Angles of the first quadrant by sums, products and square roots alone: the same bits in every JavaScript engine. */

/** Each halving of an angle halves its tangent, about; behind three of them the series is good to 1e-18. */
const HALVINGS = 3;
const TERMS = 9;

/** The angle whose tangent is y / x, for y and x that are not negative; 0 for 0 / 0. Within 4 units of the last place. */
export function angleOf(y: number, x: number): number {
  if (y > x) return Math.PI / 2 - angleOf(x, y);
  if (y === 0) return 0;
  let tangent = y / x;
  for (let halving = 0; halving < HALVINGS; halving++) tangent /= 1 + Math.sqrt(1 + tangent * tangent);
  const square = tangent * tangent;
  let sum = 0;
  for (let term = TERMS; term >= 0; term--) sum = 1 / (2 * term + 1) - square * sum;
  return 2 ** HALVINGS * tangent * sum;
}
