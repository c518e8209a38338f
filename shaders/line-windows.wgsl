// A piece of covariance.wgsl: the window sums of convolution `step` along the axis `along`, that of the registers. r$i
// becomes the sum over the taps of window i. Entries past the last window hold partial sums, which the caller masks.

let taps = word(step, FILTER + along);
let stride = word(step, STRIDE + along);
let dilation = word(step, DILATION + along);
let pad = word(step, PAD + along);
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
