/**
 * JPEG and PNG files as three channels of bytes. What a file is, its first bytes say and not its name: ImageNet has a
 * PNG among its JPEGs. Grey images become three equal channels; JPEGs of four inks become RGB, their inks taken to be stored
 * inverted, as Adobe's programs do; transparency is dropped (the colour below it counts), and 16 bits are rounded to 8.
 */
import { convertIndexedToRgb, decode as decodePng, hasPngSignature } from "fast-png";
import { decode as decodeJpeg } from "jpeg-js";
import { messageOf } from "../errors.ts";
import type { Raster } from "./prepare.ts";

/** Of one image while it is decoded; the largest of ImageNet's, not scaled, would need 400. */
const MAX_MEMORY_MB = 1024;
const MAX_RESOLUTION_MP = 200;

/** The image, or why it does not decode. */
export function decodeImage(bytes: Uint8Array): Raster | string {
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpeg(bytes);
    if (hasPngSignature(bytes)) return png(bytes);
  } catch (thrown) {
    return messageOf(thrown);
  }
  return bytes.length === 0 ? "the file is empty" : "it is neither JPEG nor PNG";
}

function jpeg(bytes: Uint8Array): Raster {
  const { width, height, data } = decodeJpeg(bytes, {
    useTArray: true,
    formatAsRGBA: false,
    tolerantDecoding: false,
    maxMemoryUsageInMB: MAX_MEMORY_MB,
    maxResolutionInMP: MAX_RESOLUTION_MP,
  });
  return interleaved(data, width, height, 3);
}

/** Where a PNG's header says how many bits a sample has, and whether its rows are interlaced. */
const [DEPTH_AT, INTERLACE_AT] = [24, 28];

function png(bytes: Uint8Array): Raster | string {
  // The decoder takes the rows of such a file for whole bytes, and says nothing.
  if ((bytes[DEPTH_AT] ?? 8) < 8 && bytes[INTERLACE_AT] === 1)
    return "it is an interlaced PNG of fewer than 8 bits a sample, which is not supported; save it without interlacing";
  const image = decodePng(bytes, { checkCrc: true });
  const { width, height, depth, palette } = image;
  if (palette !== undefined) {
    const rgb = convertIndexedToRgb(image);
    return interleaved(rgb, width, height, rgb.length / (width * height));
  }
  const samples = depth < 8 ? unpacked(image.data, width, height, depth) : image.data;
  const data = depth === 16 ? Uint8Array.from(samples, (value) => Math.round(value / 257)) : Uint8Array.from(samples);
  return interleaved(data, width, height, image.channels);
}

/** Grey levels of 1, 2 or 4 bits, from the high bits of each byte on, each row beginning a new one: as bytes, white 255. */
function unpacked(data: ArrayLike<number>, width: number, height: number, depth: number): Uint8Array {
  const rowBytes = Math.ceil((width * depth) / 8);
  const most = 2 ** depth - 1;
  const levels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const byte = data[y * rowBytes + (bit >> 3)] ?? 0;
      levels[y * width + x] = (((byte >> (8 - depth - (bit & 7))) & most) * 255) / most;
    }
  }
  return levels;
}

/** `samples` of a pixel: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. */
function interleaved(data: Uint8Array, width: number, height: number, samples: number): Raster {
  const grey = samples < 3;
  return {
    data,
    at: 0,
    channels: 3,
    height,
    width,
    channelStep: grey ? 0 : 1,
    rowStep: width * samples,
    columnStep: samples,
  };
}
