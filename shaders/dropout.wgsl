// out = a / keep where the stream's number of the element, or of its group, is below `keep`, else 0. Number i of the stream
// is (word i >> 8) 2^-24, exact in float32, so that the mask is the same on every backend.
//
// A lane does four adjacent elements. With a number for each element they share a Philox block; with a number for a
// group, each asks for its own group's, which lanes side by side repeat: the words are cheaper than sharing them.

//# include philox

const FOUR = 4u;

fn keeps(word: u32) -> bool {
  return f32(word >> 8u) * 0x1p-24 < params.keep;
}

@compute @workgroup_size(PER_WORKGROUP)
fn main(
  @builtin(global_invocation_id) global: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
) {
  let quads = (params.count + FOUR - 1u) / FOUR;
  for (var quad = global.x; quad < quads; quad += workgroups.x * PER_WORKGROUP) {
    let begin = FOUR * quad;
    let end = min(begin + FOUR, params.count);
    // The number of the first element, and the block that has been made.
    var block = begin / params.perGroup / FOUR;
    var words = philox(block);
    for (var i = begin; i < end; i++) {
      let number = i / params.perGroup;
      if (number / FOUR != block) {
        block = number / FOUR;
        words = philox(block);
      }
      out[i] = select(0.0, a[i] / params.keep, keeps(words[number % FOUR]));
    }
  }
}
