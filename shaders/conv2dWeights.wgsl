// The gradient of conv2d with respect to its weights, in parts: for each part an implicit matrix product along its pixels,
// out (channels x taps) = gradient (channels x pixels) times patches (taps x pixels)', where taps counts the entries
// (c, i, j) of a filter.
//
//             TILE_TAPS taps                   A workgroup of 16 x 16 lanes owns TILE_CHANNELS x TILE_TAPS sums of one part
//            +-----------------+               and walks along the part's pixels in steps of DEPTH:
//      DEPTH | patches'        |                 1. all lanes copy a panel of the gradient and gather a panel of patches
//            +-----------------+                    into workgroup memory, zeros outside;
//    DEPTH                                       2. each lane adds DEPTH outer products of EACH x 4 to its registers.
//   +-----+  +-----------------+               Lane (x, y) owns channels y, y + 16, ... and taps x, x + 16, ..., so
//   |grad-|  |                 |               reads of a panel are adjacent between lanes, and so are writes.
//   |ient |  |       out       | TILE_CHANNELS
//   +-----+  +-----------------+               Copies run along the pixels, which lie side by side in memory. A lane
//                                              always copies the same pixel of a step (256 lanes are a multiple of
// DEPTH), so the pixel's place costs its divisions once a step, and always gathers the same taps, whose places are worked
// out before the walk.
//
// Workgroup memory: DEPTH * (GRADIENT_PITCH + TAPS_PITCH) floats, 8.3 KB for 64 channels; odd pitches keep copies along
// the pixels free of bank conflicts. Sums run in the order of the pixels.

const SIDE = 16u; // lanes along each side of a tile
const LANES = SIDE * SIDE;
const DEPTH = 16u;
const LINES = LANES / DEPTH; // channels, or taps, that are copied at a time
const GRADIENT_PITCH = TILE_CHANNELS + 1u;
const TAPS_PITCH = TILE_TAPS + 1u;

var<workgroup> left: array<f32, DEPTH * GRADIENT_PITCH>;
var<workgroup> right: array<f32, DEPTH * TAPS_PITCH>;

/** An entry of a filter. */
struct Tap {
  channel: u32, // the offset of its plane; beyond the last tap, of no use
  place: vec2i, // relative to the window's corner
  valid: bool,
}

fn tapOf(tap: u32, taps: u32) -> Tap {
  let kernel = params.kernelHeight * params.kernelWidth;
  let within = tap % kernel;
  let place = vec2u(
    within / params.kernelWidth * params.dilationHeight,
    within % params.kernelWidth * params.dilationWidth,
  );
  return Tap(tap / kernel * params.inHeight * params.inWidth, vec2i(place), tap < taps);
}

/** The pixel of the input that a tap reads; `image`: the image's offset, `corner`: of the window. */
fn pixelAt(tap: Tap, image: u32, corner: vec2i, valid: bool) -> f32 {
  let at = corner + tap.place;
  // As unsigned numbers, negative places are too large.
  let inside = vec2u(at) < vec2u(params.inHeight, params.inWidth);
  if (!(valid && tap.valid && all(inside))) { return 0.0; }
  return input[image + tap.channel + u32(at.x) * params.inWidth + u32(at.y)];
}

@compute @workgroup_size(SIDE, SIDE)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) lane: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let plane = params.outHeight * params.outWidth;
  let taps = params.inChannels * params.kernelHeight * params.kernelWidth;
  let part = group.z;
  // part batch / parts, without the product, which may exceed 32 bits.
  let each = params.batch / params.parts;
  let rest = params.batch % params.parts;
  let begin = (part * each + part * rest / params.parts) * plane;
  let end = ((part + 1u) * each + (part + 1u) * rest / params.parts) * plane;
  let channel0 = group.y * TILE_CHANNELS;
  let tap0 = group.x * TILE_TAPS;

  let offset = local % DEPTH; // of the pixel that this lane copies
  let line = local / DEPTH; // the first of its channels, and of its taps
  //# for t in 0 .. TILE_TAPS / 16
  let entry$t = tapOf(tap0 + line + $(t)u * LINES, taps);
  //# end

  // c$i holds channel y + 16 i of this lane's part of the tile.
  //# for i in 0 .. TILE_CHANNELS / 16
  var c$i = vec4f();
  //# end
  for (var pixel0 = begin; pixel0 < end; pixel0 += DEPTH) {
    let pixel = pixel0 + offset;
    let valid = pixel < end;
    let number = pixel / plane;
    let within = pixel % plane;
    for (var t = line; t < TILE_CHANNELS; t += LINES) {
      let channel = channel0 + t;
      var value = 0.0;
      if (valid && channel < params.outChannels) {
        value = gradient[(number * params.outChannels + channel) * plane + within];
      }
      left[offset * GRADIENT_PITCH + t] = value;
    }
    let image = number * params.inChannels * params.inHeight * params.inWidth;
    let corner = vec2i(
      i32(within / params.outWidth * params.strideHeight) - params.padTop,
      i32(within % params.outWidth * params.strideWidth) - params.padLeft,
    );
    //# for t in 0 .. TILE_TAPS / 16
    right[offset * TAPS_PITCH + line + $(t)u * LINES] = pixelAt(entry$t, image, corner, valid);
    //# end
    workgroupBarrier();
    for (var q = 0u; q < DEPTH; q++) {
      let l = q * GRADIENT_PITCH + lane.y;
      let r = q * TAPS_PITCH + lane.x;
      let patches = vec4f(right[r], right[r + SIDE], right[r + 2u * SIDE], right[r + 3u * SIDE]);
      //# for i in 0 .. TILE_CHANNELS / 16
      c$i = fma(vec4f(left[l + $(i)u * SIDE]), patches, c$i);
      //# end
    }
    workgroupBarrier();
  }
  //# for i in 0 .. TILE_CHANNELS / 16
  store(part, channel0 + lane.y + $(i)u * SIDE, tap0 + lane.x, taps, c$i);
  //# end
}

/** Writes four sums of one channel, SIDE taps apart. */
fn store(part: u32, channel: u32, first: u32, taps: u32, sums: vec4f) {
  if (channel >= params.outChannels) { return; }
  for (var j = 0u; j < 4u; j++) {
    let tap = first + j * SIDE;
    if (tap >= taps) { return; }
    out[(part * params.outChannels + channel) * taps + tap] = sums[j];
  }
}
