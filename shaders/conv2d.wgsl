// Convolution of NCHW images as an implicit matrix product: out (channels x pixels of the batch) = weights (channels x
// depth) times patches (depth x pixels), depth = inChannels kernelHeight kernelWidth. The patches never exist in memory.
//
//             TILE_PIXELS output pixels        A workgroup of 16 x 16 lanes owns TILE_CHANNELS x TILE_PIXELS outputs and
//            +-----------------+               walks along the depth in steps of DEPTH:
//      DEPTH | patches         |                 1. all lanes copy a panel of the weights and gather a panel of patches
//            +-----------------+                    into workgroup memory, zeros outside;
//    DEPTH                                       2. each lane adds DEPTH outer products of EACH x 4 to its registers.
//   +-----+  +-----------------+               Lane (x, y) owns channels y, y + 16, ... and pixels x, x + 16, ..., so
//   |weig-|  |                 |               reads of a panel are adjacent between lanes, and so are writes.
//   |hts  |  |       out       | TILE_CHANNELS
//   +-----+  +-----------------+               A lane gathers patches for one pixel only (256 lanes are a multiple of
//                                              64 pixels): the pixel's place is worked out once, a depth step's
// (channel, tap) costs two divisions. Neighbouring lanes gather neighbouring pixels of one row: coalesced for stride 1.
//
// Workgroup memory: DEPTH * (WEIGHTS_PITCH + TILE_PIXELS) floats, 8.3 KB for 64 channels. Sums run in the order of the
// depth, and the bias is added at the end.

const SIDE = 16u; // lanes along each side of a tile
const LANES = SIDE * SIDE;
const DEPTH = 16u;
// Weights are stored depth-major: an odd pitch keeps the copy, which runs along the depth, free of bank conflicts.
const WEIGHTS_PITCH = TILE_CHANNELS + 1u;

var<workgroup> left: array<f32, DEPTH * WEIGHTS_PITCH>;
var<workgroup> right: array<f32, DEPTH * TILE_PIXELS>;

/** Copies weights[channel0 .. + TILE_CHANNELS, q0 .. + DEPTH]. */
fn copyWeights(channel0: u32, q0: u32, depth: u32, local: u32) {
  for (var t = local; t < TILE_CHANNELS * DEPTH; t += LANES) {
    let channel = channel0 + t / DEPTH;
    let q = q0 + t % DEPTH;
    var value = 0.0;
    if (channel < params.outChannels && q < depth) { value = weights[channel * depth + q]; }
    left[(t % DEPTH) * WEIGHTS_PITCH + t / DEPTH] = value;
  }
}

/** Gathers depth steps q0 .. + DEPTH of the patch whose first tap lies at (top, left) of the image at `image`. */
fn gatherPatches(image: u32, corner: vec2i, valid: bool, q0: u32, depth: u32, local: u32) {
  let taps = params.kernelHeight * params.kernelWidth;
  for (var step = local / TILE_PIXELS; step < DEPTH; step += LANES / TILE_PIXELS) {
    let q = q0 + step;
    let channel = q / taps;
    let tap = q % taps;
    let at = corner + vec2i(
      i32(tap / params.kernelWidth * params.dilationHeight),
      i32(tap % params.kernelWidth * params.dilationWidth),
    );
    // As unsigned numbers, negative places are too large.
    let inside = vec2u(at) < vec2u(params.inHeight, params.inWidth);
    var value = 0.0;
    if (valid && q < depth && all(inside)) {
      value = input[image + (channel * params.inHeight + u32(at.x)) * params.inWidth + u32(at.y)];
    }
    right[step * TILE_PIXELS + local % TILE_PIXELS] = value;
  }
}

@compute @workgroup_size(SIDE, SIDE)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) lane: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let plane = params.outHeight * params.outWidth;
  let pixels = params.batch * plane;
  let depth = params.inChannels * params.kernelHeight * params.kernelWidth;
  let pixel0 = (group.z * 65535u + group.x) * TILE_PIXELS;
  let channel0 = group.y * TILE_CHANNELS;

  let pixel = pixel0 + local % TILE_PIXELS; // the one that this lane gathers
  let within = pixel % plane;
  let image = pixel / plane * params.inChannels * params.inHeight * params.inWidth;
  let corner = vec2i(
    i32(within / params.outWidth * params.strideHeight) - params.padTop,
    i32(within % params.outWidth * params.strideWidth) - params.padLeft,
  );

  // c$i holds channel y + 16 i of this lane's part of the tile.
  //# for i in 0 .. TILE_CHANNELS / 16
  var c$i = vec4f();
  //# end
  for (var q0 = 0u; q0 < depth; q0 += DEPTH) {
    copyWeights(channel0, q0, depth, local);
    gatherPatches(image, corner, pixel < pixels, q0, depth, local);
    workgroupBarrier();
    for (var q = 0u; q < DEPTH; q++) {
      let l = q * WEIGHTS_PITCH + lane.y;
      let r = q * TILE_PIXELS + lane.x;
      let patches = vec4f(right[r], right[r + SIDE], right[r + 2u * SIDE], right[r + 3u * SIDE]);
      //# for i in 0 .. TILE_CHANNELS / 16
      c$i = fma(vec4f(left[l + $(i)u * SIDE]), patches, c$i);
      //# end
    }
    workgroupBarrier();
  }
  //# for i in 0 .. TILE_CHANNELS / 16
  store(channel0 + lane.y + $(i)u * SIDE, pixel0 + lane.x, plane, pixels, c$i);
  //# end
}

/** Writes four sums of one channel, SIDE pixels apart. */
fn store(channel: u32, first: u32, plane: u32, pixels: u32, sums: vec4f) {
  if (channel >= params.outChannels) { return; }
  var offset = 0.0;
  if (params.useBias == 1u) { offset = bias[channel]; }
  for (var j = 0u; j < 4u; j++) {
    let pixel = first + j * SIDE;
    if (pixel >= pixels) { return; }
    out[(pixel / plane * params.outChannels + channel) * plane + pixel % plane] = sums[j] + offset;
  }
}
