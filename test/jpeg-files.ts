/** JPEGs of one colour with any number of components, for tests: baseline, one block each, nothing but its mean in it. */

/**
 * 8 x 8 pixels. `transform`: what an Adobe marker says of the components, 0 nothing, 2 YCCK; undefined: no such marker.
 * `components`: what each is everywhere, 0 to 255.
 */
export function flatJpeg(components: readonly number[], transform?: 0 | 2): Uint8Array<ArrayBuffer> {
  const segment = (marker: number, content: readonly number[]) => {
    const bytes = content.length + 2;
    return [0xff, marker, bytes >> 8, bytes & 255, ...content];
  };
  const adobe = transform === undefined ? [] : segment(0xee, [...text("Adobe"), 0, 100, 0, 0, 0, 0, transform]);
  // The mean of a block is its first coefficient by 8: a table of eights makes that the pixel, less the level shift.
  const table = segment(0xdb, [0, ...new Array<number>(64).fill(8)]);
  const named = components.map((_, i) => i + 1);
  const frame = segment(0xc0, [8, 0, 8, 0, 8, named.length, ...named.flatMap((name) => [name, 0x11, 0])]);
  // First coefficients: nine lengths, 0 to 8 bits, in codes of four bits. Others: "no more", in one bit.
  const first = segment(0xc4, [0x00, ...counts({ 4: 9 }), ...Array.from({ length: 9 }, (_, bits) => bits)]);
  const others = segment(0xc4, [0x10, ...counts({ 1: 1 }), 0]);
  const scan = segment(0xda, [named.length, ...named.flatMap((name) => [name, 0x00]), 0, 63, 0]);
  const bits = components.map((value) => coefficient(value - 128)).join("");
  const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1");
  const data = Array.from({ length: padded.length / 8 }, (_, i) => parseInt(padded.slice(8 * i, 8 * i + 8), 2));
  const stuffed = data.flatMap((byte) => (byte === 0xff ? [0xff, 0] : [byte]));
  return Uint8Array.from([
    0xff,
    0xd8,
    ...adobe,
    ...table,
    ...frame,
    ...first,
    ...others,
    ...scan,
    ...stuffed,
    0xff,
    0xd9,
  ]);
}

function text(letters: string): number[] {
  return Array.from(letters, (letter) => letter.charCodeAt(0));
}

/** How many codes there are of 1 to 16 bits. */
function counts(of: Readonly<Record<number, number>>): number[] {
  return Array.from({ length: 16 }, (_, i) => of[i + 1] ?? 0);
}

/** The length's code, the value (a negative one less 1, in as many bits), and that nothing follows. */
function coefficient(value: number): string {
  const length = value === 0 ? 0 : Math.floor(Math.log2(Math.abs(value))) + 1;
  const word = value < 0 ? value + 2 ** length - 1 : value;
  return length.toString(2).padStart(4, "0") + (length === 0 ? "" : word.toString(2).padStart(length, "0")) + "0";
}
