// A piece of covariance.wgsl: adds the map to the result of `step` that it accumulates on, and keeps the result where
// somebody reads it later.

//# if PLACES > 0
if (word(step, ADDEND) != NO_PLACE) {
  let crosses = (word(step, ORIENTATION) & ACROSS) != 0u;
  let start = word(step, ADDEND) * (PAIRS * LINE * PITCH) + select(own, across, crosses);
  let pitch = select(1u, PITCH, crosses);
  if (crosses) { workgroupBarrier(); } // other lanes have kept their lines
  //# for i in 0 .. LINE
  r$i += places[start + $(i)u * pitch];
  //# end
  if (crosses) { workgroupBarrier(); } // before any lane keeps another
}
if (word(step, KEEP) != NO_PLACE) {
  let start = word(step, KEEP) * (PAIRS * LINE * PITCH) + own;
  //# for i in 0 .. LINE
  places[start + $(i)u] = r$i;
  //# end
}
//# end
