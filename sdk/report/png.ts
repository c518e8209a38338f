/** Images of a data set as PNG data URIs, so that a page can show them without a file beside it. */
import type { ImageShape } from "../data/dataset.ts";
import { WidefieldError } from "../errors.ts";

/** The CRC-32 of PNG and gzip (reflected polynomial 0xEDB88320), bit by bit: a report's images are small. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** Length, type, data, CRC of type and data: PNG specification, section 5.3. */
function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

async function zlib(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

/** Maps intensities to 0..255: [0, 1] as it is; anything beyond, as standardised images are, by its own extremes. */
function toByte(image: Float32Array): (value: number) => number {
  let [low, high] = [0, 1];
  for (const value of image) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return (value) => Math.round((255 * (value - low)) / (high - low));
}

/**
 * A PNG of one image [channels, height, width]: in colour if there are three channels, else grey, which is the mean
 * of the channels.
 *
 * @throws WidefieldError E_SHAPE if the image has another number of values
 */
export async function pngDataUri(image: Float32Array, { channels, height, width }: ImageShape): Promise<string> {
  const pixels = height * width;
  if (image.length !== channels * pixels || pixels === 0) {
    throw new WidefieldError("E_SHAPE", `an image of ${image.length} values is not ${channels} x ${height} x ${width}`);
  }
  const samples = channels === 3 ? 3 : 1;
  const byte = toByte(image);
  const at = (channel: number, pixel: number) => image[channel * pixels + pixel] ?? 0;
  const mean = (pixel: number) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += at(channel, pixel);
    return sum / channels;
  };
  // Each row is preceded by its filter type, 0: none.
  const rows = new Uint8Array(height * (1 + samples * width));
  for (let pixel = 0; pixel < pixels; pixel++) {
    const start = Math.floor(pixel / width) * (1 + samples * width) + 1 + samples * (pixel % width);
    for (let sample = 0; sample < samples; sample++) {
      rows[start + sample] = byte(samples === 3 ? at(sample, pixel) : mean(pixel));
    }
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, samples === 3 ? 2 : 0], 8); // bits a sample; colour type: truecolour or greyscale
  const parts = [
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", header),
    chunk("IDAT", await zlib(rows)),
    chunk("IEND", new Uint8Array(0)),
  ];
  const binary = parts.map((part) => String.fromCharCode(...part)).join("");
  return `data:image/png;base64,${btoa(binary)}`;
}
