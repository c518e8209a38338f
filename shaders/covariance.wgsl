// A covariance program on a tile of pairs: output[i, j] = K(x_i, y_j), fused, a line of pixels in a lane's registers.
//
//        map of one pair, LINE x LINE             A lane holds a whole line in the registers r0 .. r(LINE - 1), and a
//        lane 0   1   2   ...  LINE - 1           pair takes LINE lanes. A workgroup holds PAIRS pairs, which share
//      r0  o    o   o          o                  the row's image: their reads of its table are one.
//      r1  o    o   o          o
//      ..                                         A convolution is a box filter: window sums along the registers, a
//      r(LINE-1)                                  transpose through workgroup memory, window sums along the registers
//                                                 again. So the map stands transposed after it, and the tables stand
// as the lanes will read them (see variance.wgsl): adjacent lanes, adjacent addresses.
//
// Window sums (line-windows.wgsl) are van Herk's, for the one window (length BOX, leading padding BOX_PAD) that the
// program uses most; any other length, padding, stride and dilation takes a loop over taps. Neither ever subtracts: the
// sum over a window of zeros is exactly 0, and a blank border keeps covariance 0.
//
// Several maps. The registers hold one map at a time; what a skip connection needs later lies in one of PLACES places
// of workgroup memory, as the lanes held it. Which map is loaded, kept or added where, the program's words say (LOAD,
// KEEP, ADDEND). A lane meets only its own line there, except where a sum's terms were transposed a different number of
// times (ACROSS: a projection beside two convolutions): then it reads across the lines, between barriers.
//
// A turn of the loop takes a nonlinearity and the linear step after it: networks, residual ones too, need one turn for
// each convolution. Turns are what counts on SwiftShader, which runs through all branches with lanes masked out; on a
// GPU they are a few scalar instructions.
//
// The program's first step is its input, and no other is.
//
// Invariant between steps: registers and lanes outside the map hold exactly 0, in places too.
//
// Bitwise: products of the two images commute, every pair runs the same instructions whatever its tile, and nothing
// depends on the tile's size. So K(i, j) = K(j, i) to the last bit. Sums are associated otherwise than with a pixel a
// lane: the two layouts agree to rounding, not to the bit.
//
// Memory: 4 (1 + PLACES) PAIRS LINE PITCH bytes (PITCH odd: no bank conflicts in either direction of the transpose).
// Cost per pixel of [convolution, relu]: 5 additions, 2 writes and reads of workgroup memory, 1 fma, 2 loads from the
// tables and about 18 instructions of arc-cosine; one pair of barriers for each convolution. A skip connection adds one
// write, one read and one addition; across, a pair of barriers too.

//# include program
//# include nonlinearities

/** Line i of pair p from (p * LINE + i) * PITCH on; element LINE of each line stays 0, for taps outside the map. */
var<workgroup> lines: array<f32, PAIRS * LINE * PITCH>;
//# if PLACES > 0
/** The maps in places, one after the other, each like `lines`. */
var<workgroup> places: array<f32, PLACES * PAIRS * LINE * PITCH>;
//# end

/** Whether the step after a nonlinearity is a linear one of its result. */
fn passesOn(step: u32) -> bool {
  let next = step + 1u;
  return next < params.steps && word(next, LOAD) == NO_PLACE && !isNonlinearity(word(next, KIND));
}

/** Registers and lanes that a step's result takes. */
fn registersOf(step: u32) -> u32 { return word(step, OUT_SIZE + select(0u, 1u, isTurned(step))); }
fn lanesOf(step: u32) -> u32 { return word(step, OUT_SIZE + select(1u, 0u, isTurned(step))); }

@compute @workgroup_size(PAIRS * LINE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let item = group.y * 65535u + group.x;
  let blocks = (params.columns + PAIRS - 1u) / PAIRS; // workgroups a row
  if (item >= blocks * params.rows) { return; }
  let row = item / blocks;
  let firstColumn = (item % blocks) * PAIRS;
  if (params.lower == 1u && i32(firstColumn) - i32(row) > params.diagonal) { return; }

  let pair = local / LINE;
  let lane = local % LINE;
  // Lanes past the tile's edge repeat its last column, so that all reach every barrier; they store nothing.
  let column = min(firstColumn + pair, params.columns - 1u);
  let x = row * (params.imageFloats + params.tablePixels);
  let y = column * (params.imageFloats + params.tablePixels);
  let own = (pair * LINE + lane) * PITCH; // this lane's line; its element i is at own + i
  let across = pair * LINE * PITCH + lane; // element `lane` of line i is at across + i * PITCH
  lines[own + LINE] = 0.0;

  //# for i in 0 .. LINE
  var r$i = 0.0;
  //# end

  { // the first step: the product of the two images, in partial sums of 16 channels: a long vector's rounding adds up
    let width = word(0u, IN_SIZE + 1u);
    let plane = word(0u, IN_SIZE) * width;
    for (var start = 0u; start < word(0u, CHANNELS); start += 16u) {
      //# for i in 0 .. LINE
      var part$i = 0.0;
      //# end
      for (var c = start; c < min(start + 16u, word(0u, CHANNELS)); c++) {
        let offset = c * plane + lane;
        //# for i in 0 .. LINE
        part$i = fma(rowTable[x + offset + $(i)u * width], columnTable[y + offset + $(i)u * width], part$i);
        //# end
      }
      //# for i in 0 .. LINE
      r$i += part$i;
      //# end
    }
    let step = 0u;
    let inside = select(0u, word(step, IN_SIZE), lane < width);
    //# for i in 0 .. LINE
    r$i = select(0.0, r$i * real(step, FACTOR), $(i)u < inside);
    //# end
    //# include line-places
  }
  var step = 1u;
  while (step < params.steps) { // one step, or a nonlinearity and the linear step after it
    //# if PLACES > 0
    if (word(step, LOAD) != NO_PLACE) {
      let start = word(step, LOAD) * (PAIRS * LINE * PITCH) + own;
      //# for i in 0 .. LINE
      r$i = places[start + $(i)u];
      //# end
    }
    //# end
    if (isNonlinearity(word(step, KIND))) {
      let kind = word(step, KIND);
      let lanes = lanesOf(step);
      let s = params.imageFloats + word(step, TABLE) + lane;
      let inside = select(0u, registersOf(step), lane < lanes);
      //# for i in 0 .. LINE
      let entry$i = rowTable[x + s + $(i)u * lanes];
      r$i = select(0.0, bend(step, kind, r$i, entry$i, columnTable[y + s + $(i)u * lanes]), $(i)u < inside);
      //# end
      //# include line-places
      step += select(0u, 1u, passesOn(step));
    }
    let kind = word(step, KIND);
    if (kind == CONV) {
      let axis = select(1u, 0u, isTurned(step)); // the map's axis along the registers: 0 height, 1 width
      {
        let along = axis;
        //# include line-windows
      }
      //# for i in 0 .. LINE
      lines[own + $(i)u] = r$i;
      //# end
      workgroupBarrier();
      //# for i in 0 .. LINE
      r$i = lines[across + $(i)u * PITCH];
      //# end
      workgroupBarrier();
      {
        let along = 1u - axis;
        //# include line-windows
      }
    } else if (kind == MEAN) {
      // The mean, in every lane: sums of four, then of lines; rounding stays below that of one chain.
      var sum = 0.0;
      //# for group in 0 .. (LINE + 3) / 4
      var sum$group = r$(4 * group);
      //# for i in 4 * group + 1 .. 4 * group + 4
      //# if i < LINE
      sum$group += r$i;
      //# end
      //# end
      sum += sum$group;
      //# end
      lines[own] = sum;
      workgroupBarrier();
      r0 = 0.0;
      for (var i = 0u; i < LINE; i++) { r0 += lines[pair * LINE * PITCH + i * PITCH]; }
      workgroupBarrier();
      r0 /= f32(word(step, IN_SIZE) * word(step, IN_SIZE + 1u));
    }
    if (!isNonlinearity(kind)) {
      let factor = real(step, FACTOR);
      let bias = real(step, BIAS);
      let inside = select(0u, registersOf(step), lane < lanesOf(step));
      //# for i in 0 .. LINE
      r$i = select(0.0, fma(r$i, factor, bias), $(i)u < inside);
      //# end
      //# include line-places
    }
    step++;
  }
  if (lane == 0u && firstColumn + pair < params.columns) {
    let meetsItself = i32(column) - i32(row) == params.diagonal;
    output[row * params.columns + column] = select(r0, variances[row], meetsItself);
  }
}
