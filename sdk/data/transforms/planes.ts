/** What transforms do to one plane of pixels before its spectrum is taken, and after. */

/**
 * The power of two next to the largest |value|; 1 for zeros. Divided by it values can be squared and summed, however large
 * or small they are, and nothing is rounded by it.
 */
function magnitude(values: Float64Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest === 0 ? 1 : 2 ** Math.max(-1022, Math.floor(Math.log2(largest)));
}

/** Takes the mean out. A plane of equal pixels becomes zero, without what rounding leaves of it. */
export function centre(plane: Float64Array): void {
  const [first] = plane;
  if (plane.every((value) => value === first)) {
    plane.fill(0);
    return;
  }
  const scale = magnitude(plane);
  let sum = 0;
  for (const value of plane) sum += value / scale;
  const mean = (sum / plane.length) * scale;
  for (let i = 0; i < plane.length; i++) plane[i] = (plane[i] as number) - mean;
}

/** Scales to a norm; zero stays zero. */
export function scaleTo(wanted: number, plane: Float64Array): void {
  const size = norm(plane);
  if (size === 0) return;
  const scale = magnitude(plane);
  const factor = wanted / (size / scale);
  for (let i = 0; i < plane.length; i++) plane[i] = ((plane[i] as number) / scale) * factor;
}

/** The Euclidean norm. */
export function norm(values: Float64Array): number {
  const scale = magnitude(values);
  let square = 0;
  for (const value of values) square += (value / scale) ** 2;
  return Math.sqrt(square) * scale;
}
