// The gradient of conv2d with respect to its input, as an implicit matrix product without zeros in it.
//
// The pixels of the input fall into strideHeight x strideWidth phases, by which taps of the filter can reach them: output
// row v reaches row y by tap i where y + padTop = v strideHeight + i dilationHeight. The rows of a phase are strideHeight
// apart, y = first + strideHeight r, and its taps are i = tap + t strideHeight / g, g = gcd(stride, dilation), so that
// v = origin + r - t dilationHeight / g: a convolution of stride 1 of the gradient with the phase's taps. Taps that fall
// beside the gradient for all of a phase's pixels are left out; where the output is so small that most do, every row, or
// column, is a phase of its own.
//
//             TILE_PIXELS pixels of a phase    A workgroup of 16 x 16 lanes owns TILE_CHANNELS x TILE_PIXELS gradients and
//            +-----------------+               walks along the depth (output channel, tap of the phase) in steps of DEPTH:
//      DEPTH | patches of the  |                 1. all lanes copy a panel of weights and gather a panel of patches into
//            | gradient        |                    workgroup memory, zeros outside;
//            +-----------------+                 2. each lane adds DEPTH outer products of EACH x 4 to its registers.
//    DEPTH                                     Lane (x, y) owns channels y, y + 16, ... and pixels x, x + 16, ..., so
//   +-----+  +-----------------+               reads of a panel are adjacent between lanes.
//   |weig-|  |       out       | TILE_CHANNELS
//   |hts' |  |                 | (of the input) A lane gathers patches for one pixel only (256 lanes are a multiple of
//   +-----+  +-----------------+               64 pixels): the pixel's place is worked out once, a depth step's costs
//                                              two divisions.
//
// Workgroup memory: DEPTH * (WEIGHTS_PITCH + TILE_PIXELS) floats, 8.3 KB for 64 channels. Sums run in the order of the
// depth. A phase that no tap reaches has depth 0, and zeros.

const SIDE = 16u; // lanes along each side of a tile
const LANES = SIDE * SIDE;
const DEPTH = 16u;
// Weights are stored depth-major: an odd pitch keeps the copy, which runs along the depth, free of bank conflicts.
const WEIGHTS_PITCH = TILE_CHANNELS + 1u;

var<workgroup> left: array<f32, DEPTH * WEIGHTS_PITCH>;
var<workgroup> right: array<f32, DEPTH * TILE_PIXELS>;

/** A phase along one axis. */
struct Axis {
  first: u32, // pixels first, first + apart, ...
  apart: u32,
  count: u32, // pixels
  tap: u32, // taps tap, tap + tapStep, ...
  tapStep: u32,
  taps: u32,
  origin: i32, // where the first tap takes pixel 0 from
  step: u32, // how much further back each tap takes it
}

/** How far apart the pixels of a phase lie: the same rule as in the schema. */
fn pixelsApart(size: u32, outSize: u32, stride: u32) -> u32 {
  return select(stride, size, 2u * outSize * stride <= size);
}

fn axisOf(first: u32, size: u32, outSize: u32, kernel: u32, stride: u32, dilation: u32, pad: i32) -> Axis {
  let apart = pixelsApart(size, outSize, stride);
  let count = (size - first + apart - 1u) / apart;
  var divisor = stride;
  var rest = dilation;
  while (rest != 0u) {
    let next = divisor % rest;
    divisor = rest;
    rest = next;
  }
  let period = stride / divisor;
  let limit = min(kernel, period);
  let place = i32(first) + pad; // the remainder of a negative one is negative: one stride more
  let remainder = u32((place % i32(stride) + i32(stride)) % i32(stride));
  var tap = 0u;
  while (tap < limit && tap * dilation % stride != remainder) { tap++; }
  let taps = select(0u, (kernel - min(tap, kernel) + period - 1u) / period, tap < limit);
  let origin = (place - i32(tap * dilation)) / i32(stride); // exact where there is a tap
  let back = i32(dilation / divisor);
  // Tap t takes [origin, origin + count) - t back: it is of use where that meets [0, outSize).
  let low = select(0, (origin - i32(outSize)) / back + 1, origin >= i32(outSize));
  let end = origin + i32(count);
  let high = select(0, min(i32(taps), (end - 1) / back + 1), end > 0);
  let used = u32(max(0, high - low));
  return Axis(first, apart, count, tap + u32(low) * period, period, used, origin - low * back, u32(back));
}

/** A pixel of the phase. */
struct Pixel {
  image: u32,
  row: u32,
  column: u32,
}

fn pixelOf(index: u32, down: Axis, across: Axis) -> Pixel {
  let line = index / across.count;
  return Pixel(line / down.count, line % down.count, index % across.count);
}

/** Copies the weights of input channels channel0 .. + TILE_CHANNELS at depth steps q0 .. + DEPTH. */
fn copyWeights(channel0: u32, q0: u32, depth: u32, down: Axis, across: Axis, local: u32) {
  let taps = down.taps * across.taps;
  for (var t = local; t < TILE_CHANNELS * DEPTH; t += LANES) {
    let channel = channel0 + t / DEPTH;
    let q = q0 + t % DEPTH;
    var value = 0.0;
    if (channel < params.inChannels && q < depth) {
      let tap = q % taps;
      let i = down.tap + tap / across.taps * down.tapStep;
      let j = across.tap + tap % across.taps * across.tapStep;
      value = weights[((q / taps * params.inChannels + channel) * params.kernelHeight + i) * params.kernelWidth + j];
    }
    left[(t % DEPTH) * WEIGHTS_PITCH + t / DEPTH] = value;
  }
}

/** Gathers depth steps q0 .. + DEPTH of the gradient's patch for one pixel of the phase. */
fn gatherPatches(pixel: Pixel, valid: bool, q0: u32, depth: u32, down: Axis, across: Axis, local: u32) {
  let taps = down.taps * across.taps;
  let image = pixel.image * params.outChannels;
  let corner = vec2i(down.origin + i32(pixel.row), across.origin + i32(pixel.column));
  for (var step = local / TILE_PIXELS; step < DEPTH; step += LANES / TILE_PIXELS) {
    let q = q0 + step;
    var value = 0.0;
    if (valid && q < depth) {
      let tap = q % taps;
      let at = corner - vec2i(vec2u(tap / across.taps * down.step, tap % across.taps * across.step));
      // As unsigned numbers, negative places are too large.
      if (all(vec2u(at) < vec2u(params.outHeight, params.outWidth))) {
        value = gradient[((image + q / taps) * params.outHeight + u32(at.x)) * params.outWidth + u32(at.y)];
      }
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
  let apart = vec2u(
    pixelsApart(params.inHeight, params.outHeight, params.strideHeight),
    pixelsApart(params.inWidth, params.outWidth, params.strideWidth),
  );
  let most = (vec2u(params.inHeight, params.inWidth) + apart - 1u) / apart;
  let tiles = (params.batch * most.x * most.y + TILE_PIXELS - 1u) / TILE_PIXELS;
  let number = group.z * 65535u + group.x;
  let phase = number / tiles;
  let phasesAcross = min(apart.y, params.inWidth);
  // The last row of workgroups may reach beyond the last phase: its tiles repeat the last one, and store nothing.
  let firstRow = min(phase / phasesAcross, params.inHeight - 1u);
  let valid = phase / phasesAcross < min(apart.x, params.inHeight);
  let down = axisOf(
    firstRow, params.inHeight, params.outHeight, params.kernelHeight,
    params.strideHeight, params.dilationHeight, params.padTop,
  );
  let across = axisOf(
    phase % phasesAcross, params.inWidth, params.outWidth, params.kernelWidth,
    params.strideWidth, params.dilationWidth, params.padLeft,
  );
  let pixels = select(0u, params.batch * down.count * across.count, valid);
  let depth = params.outChannels * down.taps * across.taps;
  let pixel0 = number % tiles * TILE_PIXELS;
  let channel0 = group.y * TILE_CHANNELS;
  let own = pixel0 + local % TILE_PIXELS; // the pixel that this lane gathers
  let pixel = pixelOf(own, down, across);

  // c$i holds channel y + 16 i of this lane's part of the tile.
  //# for i in 0 .. TILE_CHANNELS / 16
  var c$i = vec4f();
  //# end
  for (var q0 = 0u; q0 < depth; q0 += DEPTH) {
    copyWeights(channel0, q0, depth, down, across, local);
    gatherPatches(pixel, own < pixels, q0, depth, down, across, local);
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
  for (var j = 0u; j < 4u; j++) {
    let index = pixel0 + lane.x + j * SIDE;
    if (index >= pixels) { return; }
    let place = pixelOf(index, down, across);
    let row = down.first + place.row * apart.x;
    let at = ((place.image * params.inChannels) * params.inHeight + row) * params.inWidth
      + across.first + place.column * apart.y;
    //# for i in 0 .. TILE_CHANNELS / 16
    store(channel0 + lane.y + $(i)u * SIDE, at, c$i[j]);
    //# end
  }
}

/** `at`: the pixel in its image's first channel. */
fn store(channel: u32, at: u32, value: f32) {
  if (channel < params.inChannels) { out[at + channel * params.inHeight * params.inWidth] = value; }
}
