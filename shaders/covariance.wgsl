// A covariance program on a tile of pairs: output[i, j] = K(x_i, y_j), fused, a line of pixels in a lane's registers.
//
//        map of one pair, LINE x LINE             A lane holds a whole line in the registers r0 .. r(LINE - 1), and a
//        lane 0   1   2   ...  LINE - 1           pair takes LINE lanes. A workgroup holds PAIRS pairs, which share
//      r0  o    o   o          o                  the row's image: their reads of its table are one.
//      r1  o    o   o          o
//      ..                                         A convolution is a box filter: window sums along the registers, a
//      r(LINE-1)                                  transpose through workgroup memory, window sums along the registers
//                                                 again. So the map stands transposed after it, and the standard
// deviations in the tables stand as the lanes will read them (see variance.wgsl): adjacent lanes, adjacent addresses.
//
// Window sums (line-windows.wgsl) are van Herk's, for the one window (length BOX, leading padding BOX_PAD) that the
// program uses most; any other length, padding, stride and dilation takes a loop over taps. Neither ever subtracts: the
// sum over a window of zeros is exactly 0, and a blank border keeps covariance 0.
//
// A relu is taken in the same turn of the loop as the linear step before it: fewer joins of the control flow, at each
// of which a compiler without a register allocator of its own (SwiftShader's) copies all registers.
//
// Invariant between steps: registers and lanes outside the map hold exactly 0.
//
// Bitwise: products of the two images commute, every pair runs the same instructions whatever its tile, and nothing
// depends on the tile's size. So K(i, j) = K(j, i) to the last bit.
//
// Memory: 4 PAIRS LINE PITCH bytes (PITCH odd: no bank conflicts in either direction of the transpose). Cost per pixel
// of [convolution, relu]: 5 additions, 2 writes and reads of workgroup memory, 1 fma, 2 loads from the tables and
// about 16 instructions of arc-cosine; one pair of barriers for each convolution.

//# include program
//# include arccosine

/** Line i of pair p from (p * LINE + i) * PITCH on; element LINE of each line stays 0, for taps outside the map. */
var<workgroup> lines: array<f32, PAIRS * LINE * PITCH>;

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
  var axis = 0u; // the map's axis along the registers: 0 height, 1 width
  var length = 0u; // registers in use
  var lanes = 0u; // lanes in use
  var step = 0u;
  while (step < params.steps) { // one linear step and the relu after it
    let weight = real(step, WEIGHT);
    let bias = real(step, BIAS);
    let kind = word(step, KIND);
    switch kind {
      case RELU: {} // two in a row: no linear step between them
      case INPUT: {
        length = word(step, IN_SIZE);
        lanes = word(step, IN_SIZE + 1u);
        let plane = length * lanes;
        // Partial sums of 16 channels keep the rounding of a long vector's product small.
        for (var start = 0u; start < word(step, CHANNELS); start += 16u) {
          //# for i in 0 .. LINE
          var part$i = 0.0;
          //# end
          for (var c = start; c < min(start + 16u, word(step, CHANNELS)); c++) {
            let offset = c * plane + lane;
            //# for i in 0 .. LINE
            part$i = fma(rowTable[x + offset + $(i)u * lanes], columnTable[y + offset + $(i)u * lanes], part$i);
            //# end
          }
          //# for i in 0 .. LINE
          r$i += part$i;
          //# end
        }
        //# for i in 0 .. LINE
        r$i *= weight;
        //# end
      }
      case CONV: {
        if (!isPointwise(step)) {
          {
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
          let swap = length;
          length = lanes;
          lanes = swap;
          axis = 1u - axis;
          {
            //# include line-windows
          }
        }
        //# for i in 0 .. LINE
        r$i = fma(r$i, weight, bias);
        //# end
      }
      default: { // the read-out: a 1 x 1 map. Sums of four, then of lines: rounding stays below that of one chain.
        let pixels = f32(length * lanes);
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
        var total = 0.0;
        for (var i = 0u; i < LINE; i++) { total += lines[pair * LINE * PITCH + i * PITCH]; }
        workgroupBarrier();
        r0 = fma(total, weight / pixels, bias);
        length = 1u;
        lanes = 1u;
      }
    }
    step += select(1u, 0u, kind == RELU);
    if (step < params.steps && word(step, KIND) == RELU) {
      let s = params.imageFloats + word(step, TABLE) + lane;
      let scale = real(step, WEIGHT);
      //# for i in 0 .. LINE
      r$i = scale * arccosine1(r$i, rowTable[x + s + $(i)u * lanes] * columnTable[y + s + $(i)u * lanes]);
      //# end
      step++;
    }
    if (min(length, lanes) < LINE) {
      let inside = select(0u, length, lane < lanes);
      //# for i in 0 .. LINE
      r$i = select(0.0, r$i, $(i)u < inside);
      //# end
    }
  }
  if (lane == 0u && firstColumn + pair < params.columns) {
    let meetsItself = i32(column) - i32(row) == params.diagonal;
    output[row * params.columns + column] = select(r0, variances[row], meetsItself);
  }
}
