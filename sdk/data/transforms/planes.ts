/** What transforms do to one plane of pixels before its spectrum is taken, and after. */

/** Takes the mean out. A plane of equal pixels becomes zero, without what rounding leaves of it. */
export function centre(plane: Float64Array): void {
  const [first] = plane;
  if (plane.every((value) => value === first)) {
    plane.fill(0);
    return;
  }
  let sum = 0;
  for (const value of plane) sum += value;
  const mean = sum / plane.length;
  for (let i = 0; i < plane.length; i++) plane[i] = (plane[i] as number) - mean;
}

/** Scales to a norm; zero stays zero. */
export function scaleTo(wanted: number, plane: Float64Array): void {
  const size = norm(plane);
  if (size === 0) return;
  const factor = wanted / size;
  for (let i = 0; i < plane.length; i++) plane[i] = (plane[i] as number) * factor;
}

/** The Euclidean norm. */
export function norm(values: Float64Array): number {
  let square = 0;
  for (const value of values) square += value * value;
  return Math.sqrt(square);
}
