// A covariance program on a tile of pairs: output[i, j] = K(x_i, y_j), fused, a line of pixels in each lane's registers.
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
// Window sums are van Herk's, for the one window (length BOX, leading padding BOX_PAD) that the program uses most; any
// other length, padding, stride and dilation takes a loop over taps. Neither ever subtracts: the sum over a window of
// zeros is exactly 0, and a blank border keeps covariance 0.
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
  for (var step = 0u; step < params.steps; step++) {
    let weight = real(step, WEIGHT);
    let bias = real(step, BIAS);
    switch word(step, KIND) {
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
          for (var direction = 0u; direction < 2u; direction++) {
            let taps = word(step, FILTER + axis);
            let stride = word(step, STRIDE + axis);
            let dilation = word(step, DILATION + axis);
            let pad = word(step, PAD + axis);
            //# if BOX > 0
            if (taps == BOX && pad == BOX_PAD && max(stride, dilation) == 1u) {
              // van Herk: cut the padded line (q = pixel + BOX_PAD) into blocks of BOX. The window that starts at q is
              // a suffix of q's block, summed from the block's end, and a prefix of the next, summed from its start.
              // Steps into the padding copy, they do not add.
              //# for q in (LINE + BOX - 1) / BOX * BOX downto 0
              //# if q % BOX == BOX - 1 && (q < BOX_PAD || q >= BOX_PAD + LINE)
              let suffix$q = 0.0;
              //# elseif q % BOX == BOX - 1
              let suffix$q = r$(q - BOX_PAD);
              //# elseif q < BOX_PAD || q >= BOX_PAD + LINE
              let suffix$q = suffix$(q + 1);
              //# else
              let suffix$q = r$(q - BOX_PAD) + suffix$(q + 1);
              //# end
              //# end
              //# for q in BOX .. LINE + BOX - 1
              //# if q % BOX == 0 && (q < BOX_PAD || q >= BOX_PAD + LINE)
              let prefix$q = 0.0;
              //# elseif q % BOX == 0
              let prefix$q = r$(q - BOX_PAD);
              //# elseif q < BOX_PAD || q >= BOX_PAD + LINE
              let prefix$q = prefix$(q - 1);
              //# else
              let prefix$q = prefix$(q - 1) + r$(q - BOX_PAD);
              //# end
              //# end
              //# for q in 0 .. LINE
              //# if q % BOX == 0
              r$q = suffix$q;
              //# else
              r$q = suffix$q + prefix$(q + BOX - 1);
              //# end
              //# end
            } else {
            //# end
              // Any other window: one tap at a time, from this lane's own line. A tap before the line wraps to a large
              // number, and every tap outside reads the zero at the line's end.
              //# for i in 0 .. LINE
              lines[own + $(i)u] = r$i;
              //# end
              //# for i in 0 .. LINE
              r$i = 0.0;
              //# end
              for (var t = 0u; t < taps; t++) {
                let start = i32(t * dilation) - i32(pad);
                //# for i in 0 .. LINE
                r$i += lines[own + min(u32(start + $(i) * i32(stride)), LINE)];
                //# end
              }
            //# if BOX > 0
            }
            //# end
            length = word(step, OUT_SIZE + axis);
            if (direction == 0u) {
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
            }
          }
        }
        //# for i in 0 .. LINE
        r$i = fma(r$i, weight, bias);
        //# end
      }
      case RELU: {
        let s = params.imageFloats + word(step, TABLE) + lane;
        //# for i in 0 .. LINE
        r$i = weight * arccosine1(r$i, rowTable[x + s + $(i)u * lanes] * columnTable[y + s + $(i)u * lanes]);
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
