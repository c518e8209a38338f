/**
 * What goes between a pair's maps and its state, in float64: maps that outlive a stage, and the sums of pools, in the
 * places that `sdk/covariance/encode-full.ts` gives them.
 */
import { Step } from "../covariance/step";
import { ABSENT, frontOf, lengthOf, linesOf, NO_TABLE, Side, sideFrontOf, Transfer } from "../full/words";
import { pixelOf, Room } from "./room";

/** Which side of base offset 0 an offset lies on. */
function sideOf(y: i32, x: i32): u32 {
  if (y == 0 && x == 0) return Side.OWN;
  return y > 0 || (y == 0 && x > 0) ? Side.AFTER : Side.BEFORE;
}

/** First pixel of offset (y, x) of a map in the state; of a pool, of the sums from one side. */
function placeOf(room: Room, state: u32, axisY: u32, axisX: u32, y: i32, x: i32, side: u32): usize {
  const program = room.program;
  const pixel =
    sideFrontOf(program, axisY, y, side) * linesOf(program, axisX) +
    <u32>(lengthOf(program, axisY) - abs(y)) * frontOf(program, axisX, x);
  return room.state + (<usize>(state + pixel) << 3);
}

export function storeMap(room: Room, transfer: Transfer, y: i32, x: i32): void {
  const from = room.maps + <usize>transfer.slot * room.slotBytes;
  const to = placeOf(room, transfer.state, transfer.axisY, transfer.axisX, y, x, Side.OWN);
  const bytes = bytesOf(room, transfer, y, x);
  memory.copy(to, from, bytes);
  if (room.ntk) memory.copy(to + room.stateToT, from + room.mapsToT, bytes);
}

export function loadMap(room: Room, transfer: Transfer, y: i32, x: i32): void {
  const to = room.maps + <usize>transfer.slot * room.slotBytes;
  const own = placeOf(room, transfer.state, transfer.axisY, transfer.axisX, y, x, Side.OWN);
  const bytes = bytesOf(room, transfer, y, x);
  if (transfer.table == NO_TABLE) {
    memory.copy(to, own, bytes);
    if (room.ntk) memory.copy(to + room.mapsToT, own + room.stateToT, bytes);
    return;
  }
  poolTotals(room, transfer.state, transfer.axisY, transfer.axisX, y, x, transfer.factor64, 0, to);
  if (room.ntk)
    poolTotals(
      room, transfer.state, transfer.axisY, transfer.axisX, y, x, transfer.factor64, room.stateToT, to + room.mapsToT,
    );
  const spreads = room.deviations + (<usize>transfer.table << 3);
  const wholeWidth = lengthOf(room.program, transfer.axisX);
  const height = lengthOf(room.program, transfer.axisY) - abs(y);
  const width = wholeWidth - abs(x);
  for (let row: i32 = 0; row < height; row++) {
    for (let column: i32 = 0; column < width; column++) {
      const s = load<f64>(room.x + spreads + (<usize>pixelOf(wholeWidth, row, column, y, x) << 3));
      const s2 = load<f64>(room.y + spreads + (<usize>pixelOf(wholeWidth, row, column, -y, -x) << 3));
      const at = to + (<usize>(row * width + column) << 3);
      store<f64>(at, load<f64>(at) - 0.5 * (s + s2));
    }
  }
}

/** factor * a pool's sums at offset (y, x), of D or, `map` bytes behind it, of T. */
export function poolTotals(
  room: Room, state: u32, axisY: u32, axisX: u32, y: i32, x: i32, factor: f64, map: usize, to: usize,
): void {
  const own = placeOf(room, state, axisY, axisX, y, x, Side.OWN) + map;
  const after = placeOf(room, state, axisY, axisX, y, x, Side.AFTER) + map;
  const before = placeOf(room, state, axisY, axisX, y, x, Side.BEFORE) + map;
  const pixels = (lengthOf(room.program, axisY) - abs(y)) * (lengthOf(room.program, axisX) - abs(x));
  for (let at: usize = 0; at < <usize>pixels << 3; at += 8) {
    let sum = load<f64>(own + at);
    if (after != own) sum = load<f64>(after + at) + load<f64>(before + at) + sum;
    store<f64>(to + at, factor * sum);
  }
}

function bytesOf(room: Room, transfer: Transfer, y: i32, x: i32): usize {
  const height = lengthOf(room.program, transfer.axisY) - abs(y);
  const width = lengthOf(room.program, transfer.axisX) - abs(x);
  return <usize>(height * width) << 3;
}

/** Adds the map of offset (y, x) to a pool's sums at all offsets of its output that see it. */
export function poolMap(room: Room, step: Step, from: usize, y: i32, x: i32): void {
  const program = room.program;
  const width = <i32>step.inWidth - abs(x);
  const side = sideOf(y, x);
  for (let down = 1 - <i32>step.outHeight; down < <i32>step.outHeight; down++) {
    if (frontOf(program, step.stateAxisY, down) == ABSENT) continue;
    const shiftY = y - down * <i32>step.strideHeight; // of a tap in y's window, from that in x's
    if (abs(shiftY) >= <i32>step.filterHeight) continue;
    for (let along = 1 - <i32>step.outWidth; along < <i32>step.outWidth; along++) {
      if (frontOf(program, step.stateAxisX, along) == ABSENT) continue;
      const shiftX = x - along * <i32>step.strideWidth;
      if (abs(shiftX) >= <i32>step.filterWidth) continue;
      const place = placeOf(
        room, step.state, step.stateAxisY, step.stateAxisX, down, along, side,
      );
      poolTo(room, step, from, width, y, x, down, along, shiftY, shiftX, place);
    }
  }
}

/** The same for one of those offsets: an output pixel gets the sum over the taps of x's window whose partner is one. */
function poolTo(
  room: Room, step: Step, from: usize, width: i32, y: i32, x: i32, down: i32, along: i32, shiftY: i32, shiftX: i32,
  place: usize,
): void {
  const firstRow = max(0, -shiftY);
  const endRow = <i32>step.filterHeight - max(0, shiftY);
  const firstColumn = max(0, -shiftX);
  const endColumn = <i32>step.filterWidth - max(0, shiftX);
  for (let row: i32 = 0; row < <i32>step.outHeight - abs(down); row++) {
    const top = (row + max(0, -down)) * <i32>step.strideHeight - max(0, -y);
    for (let column: i32 = 0; column < <i32>step.outWidth - abs(along); column++) {
      const left = (column + max(0, -along)) * <i32>step.strideWidth - max(0, -x);
      let sum: f64 = 0;
      let tangent: f64 = 0;
      for (let a = firstRow; a < endRow; a++) {
        for (let b = firstColumn; b < endColumn; b++) {
          const at = from + (<usize>((top + a) * width + left + b) << 3);
          sum += load<f64>(at);
          if (room.ntk) tangent += load<f64>(at + room.mapsToT);
        }
      }
      store<f64>(place, load<f64>(place) + sum);
      if (room.ntk) store<f64>(place + room.stateToT, load<f64>(place + room.stateToT) + tangent);
      place += 8;
    }
  }
}
