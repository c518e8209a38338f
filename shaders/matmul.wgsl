// C = alpha op(A) op(B) + beta C, row-major; op is the identity or the transpose.
//
//             TILE columns of C                    A workgroup of 16 x 16 lanes owns a TILE x TILE tile of C and walks
//            +-----------------+                   along k in steps of DEPTH:
//      DEPTH | right: B's panel|                     1. all lanes copy a TILE x DEPTH panel of op(A) and a DEPTH x TILE
//            +-----------------+                        panel of op(B) to workgroup memory, zeros outside the matrices;
//    DEPTH                                           2. each lane adds DEPTH outer products of 4 x 4 to the registers
//   +-----+  +-----------------+                        that hold its part of C.
//   |left:|  |                 | TILE rows         Lane (x, y) owns rows y, y + 16, ... and columns x, x + 16, ...: its
//   | A's |  |        C        | of C              reads of a panel are adjacent between lanes (no bank conflicts), and
//   |panel|  |                 |                   so are its writes to C.
//   +-----+  +-----------------+
//
// Workgroup memory: 2 * DEPTH * PITCH floats (8.3 KB). Panels are stored k-major, with a pitch that makes the copy of
// a matrix that runs the other way conflict-free too. Cost per 4 x 4 x 1 step: 8 reads of workgroup memory for 16 fused
// multiply-adds. Copies go along the matrix's contiguous axis, whichever that is, so global reads are coalesced.

const SIDE = 16u; // lanes along each side of a tile
const EACH = TILE / SIDE; // rows, and columns, of C per lane
const DEPTH = 16u;
const PITCH = TILE + 1u;
const LANES = SIDE * SIDE;

var<workgroup> left: array<f32, DEPTH * PITCH>;
var<workgroup> right: array<f32, DEPTH * PITCH>;

/** Copies op(A)[row0 .. + TILE, k0 .. + DEPTH]. */
fn copyLeft(row0: u32, k0: u32, local: u32) {
  for (var t = local; t < TILE * DEPTH; t += LANES) {
    let alongK = vec2u(t / DEPTH, t % DEPTH);
    let alongRow = vec2u(t % TILE, t / TILE);
    let at = select(alongK, alongRow, params.transposeA == 1u); // (row, k) inside the panel
    let row = row0 + at.x;
    let k = k0 + at.y;
    var value = 0.0;
    if (row < params.m && k < params.k) {
      value = a[select(row * params.k + k, k * params.m + row, params.transposeA == 1u)];
    }
    left[at.y * PITCH + at.x] = value;
  }
}

/** Copies op(B)[k0 .. + DEPTH, column0 .. + TILE]. */
fn copyRight(column0: u32, k0: u32, local: u32) {
  for (var t = local; t < TILE * DEPTH; t += LANES) {
    let alongK = vec2u(t / DEPTH, t % DEPTH);
    let alongColumn = vec2u(t % TILE, t / TILE);
    let at = select(alongColumn, alongK, params.transposeB == 1u); // (column, k) inside the panel
    let column = column0 + at.x;
    let k = k0 + at.y;
    var value = 0.0;
    if (column < params.n && k < params.k) {
      value = b[select(k * params.n + column, column * params.k + k, params.transposeB == 1u)];
    }
    right[at.y * PITCH + at.x] = value;
  }
}

@compute @workgroup_size(SIDE, SIDE)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) lane: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row0 = group.y * TILE;
  let column0 = group.x * TILE;
  // c$i holds row i of this lane's 4 x 4 part of the tile.
  //# for i in 0 .. 4
  var c$i = vec4f();
  //# end
  // With alpha = 0 the factors are never read: what they hold may be NaN.
  let depth = select(params.k, 0u, params.alpha == 0.0);
  for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
    copyLeft(row0, k0, local);
    copyRight(column0, k0, local);
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let l = k * PITCH + lane.y;
      let r = k * PITCH + lane.x;
      let columns = vec4f(right[r], right[r + SIDE], right[r + 2u * SIDE], right[r + 3u * SIDE]);
      //# for i in 0 .. 4
      c$i = fma(vec4f(left[l + $(i)u * SIDE]), columns, c$i);
      //# end
    }
    workgroupBarrier();
  }
  //# for i in 0 .. 4
  store(row0 + lane.y + $(i)u * SIDE, column0 + lane.x, c$i);
  //# end
}

/** Writes four products of one row, SIDE columns apart. */
fn store(row: u32, column0: u32, products: vec4f) {
  if (row >= params.m) { return; }
  for (var j = 0u; j < EACH; j++) {
    let column = column0 + j * SIDE;
    if (column >= params.n) { return; }
    let at = row * params.n + column;
    var value = params.alpha * products[j];
    if (params.beta != 0.0) { value = fma(params.beta, c[at], value); }
    c[at] = value;
  }
}
