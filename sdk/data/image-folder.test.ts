/** Folders of images, from files made here: their order, their decoding, their cuts, and those that cannot be used. */
import { encode as encodePng, type ImageData } from "fast-png";
import { encode as encodeJpeg } from "jpeg-js";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { flatJpeg } from "../../test/jpeg-files.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { nodePlatform } from "../platform/node.ts";
import { installPlatform } from "../platform/platform.ts";
import { drawCut } from "./augment.ts";
import { batches, BatchLoader, release } from "./batches.ts";
import { decodeImage } from "./decode-image.ts";
import { folderSource, type ImageFolder, openImageFolder } from "./image-folder.ts";
import type { Raster } from "./prepare.ts";

installPlatform(nodePlatform);
const seed = freshSeed();
const random = mulberry32(seed);
const bytes = (count: number, most = 256) => Uint8Array.from({ length: count }, () => most * random());

const smoothJpeg = (width: number, height: number) => {
  const data = new Uint8Array(4 * width * height);
  for (let i = 0; i < width * height; i++) data.set([i % width, Math.floor(i / width), 128, 255], 4 * i);
  return Uint8Array.from(encodeJpeg({ data, width, height }, 90).data);
};

function png(width: number, height: number, channels: number, more: Partial<ImageData> = {}): Uint8Array {
  return encodePng({ width, height, channels, depth: 8, data: bytes(width * height * channels), ...more });
}

/** [height, width, 3] of what was decoded. */
function pixelsOf(raster: Raster | string): number[] {
  if (typeof raster === "string") return expect.unreachable(raster);
  const { data, at, channels, height, width, channelStep, rowStep, columnStep } = raster;
  const out: number[] = [];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) out.push(data[at + c * channelStep + y * rowStep + x * columnStep] ?? NaN);
  return out;
}

describe("an image", () => {
  const [width, height] = [7, 5];

  it("as a PNG of any kind becomes three channels of bytes", () => {
    const each = (channels: number, of: (i: number) => number[]) => {
      const data = bytes(width * height * channels);
      const expected = Array.from({ length: width * height }, (_, i) => of(i * channels).map((at) => data[at] ?? NaN));
      expect(pixelsOf(decodeImage(png(width, height, channels, { data })))).toEqual(expected.flat());
    };
    each(1, (i) => [i, i, i]);
    each(2, (i) => [i, i, i]);
    each(3, (i) => [i, i + 1, i + 2]);
    each(4, (i) => [i, i + 1, i + 2]);
    const wide = Uint16Array.from({ length: width * height * 3 }, () => 65536 * random());
    const sixteen = decodeImage(png(width, height, 3, { depth: 16, data: wide }));
    expect(pixelsOf(sixteen)).toEqual(Array.from(wide, (value) => Math.round(value / 257)));
    const palette = [
      [1, 2, 3],
      [200, 100, 0],
      [9, 99, 199],
    ];
    const indices = bytes(width * height, 3);
    const indexed = decodeImage(png(width, height, 1, { data: indices, palette }));
    expect(pixelsOf(indexed)).toEqual(Array.from(indices).flatMap((index) => palette[index] ?? []));
  });

  it("as a PNG of 1, 2 or 4 bits is grey levels from black to white", () => {
    for (const depth of [1, 2, 4] as const) {
      const rowBytes = Math.ceil((width * depth) / 8);
      const data = bytes(rowBytes * height);
      const levels = Array.from({ length: width * height }, (_, i) => {
        const bit = (i % width) * depth;
        const byte = data[Math.floor(i / width) * rowBytes + Math.floor(bit / 8)] ?? 0;
        return (Math.floor(byte / 2 ** (8 - depth - (bit % 8))) % 2 ** depth) * (255 / (2 ** depth - 1));
      });
      const found = decodeImage(png(width, height, 1, { depth, data }));
      expect(pixelsOf(found)).toEqual(levels.flatMap((level) => [level, level, level]));
    }
  });

  it("as a JPEG has its pixels within what the compression loses", () => {
    const pixels = pixelsOf(decodeImage(smoothJpeg(40, 30)));
    expect(pixels).toHaveLength(40 * 30 * 3);
    const worst = pixels.reduce((most, value, i) => {
      const pixel = Math.floor(i / 3);
      return Math.max(most, Math.abs(value - ([pixel % 40, Math.floor(pixel / 40), 128][i % 3] ?? NaN)));
    }, 0);
    expect(worst).toBeLessThan(12);
  });

  it("as a grey JPEG has three equal channels, and as one of four inks the colours that Adobe means by them", () => {
    for (let trial = 0; trial < 20; trial++) {
      const [grey = 0, c = 0, m = 0, y = 0, k = 0] = bytes(5);
      expect(pixelsOf(decodeImage(flatJpeg([grey])))).toEqual(new Array(192).fill(grey));
      // Inverted inks: 255 is none.
      const expected = [(c * k) / 255, (m * k) / 255, (y * k) / 255];
      // The same inks, upright, as luminance and chrominance, as far as these can say them.
      const [cyan, magenta, yellow] = [255 - c, 255 - m, 255 - y];
      const luminance = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow;
      const chrominance = [128 + (yellow - luminance) / 1.772, 128 + (cyan - luminance) / 1.402];
      const transformed = [luminance, ...chrominance, k].map((value) => Math.min(255, Math.round(value)));
      for (const [jpeg, most] of [
        [flatJpeg([c, m, y, k], 0), 2],
        [flatJpeg(transformed, 2), 4],
      ] as const) {
        const found = pixelsOf(decodeImage(jpeg));
        expect(found).toHaveLength(192);
        found.forEach((value, i) => expect(Math.abs(value - (expected[i % 3] ?? NaN))).toBeLessThan(most));
      }
    }
    expect(pixelsOf(decodeImage(flatJpeg([255, 255, 255, 255], 0)))).toEqual(new Array(192).fill(255));
    expect(decodeImage(flatJpeg([1, 2, 3, 4]))).toContain("4 components");
  });

  it("that is cut short, empty or something else does not decode, and it is said why", () => {
    const files = [smoothJpeg(40, 30), png(40, 30, 3)];
    for (let trial = 0; trial < 20; trial++) {
      const file = files[trial % 2] ?? new Uint8Array();
      expect(typeof decodeImage(file.subarray(0, Math.floor(random() * (file.length - 1))))).toBe("string");
    }
    expect(decodeImage(new Uint8Array())).toBe("the file is empty");
    expect(decodeImage(new TextEncoder().encode("<html>"))).toBe("it is neither JPEG nor PNG");
    const interlaced = png(8, 8, 1, { depth: 1, data: bytes(8) });
    interlaced[28] = 1;
    expect(decodeImage(interlaced)).toContain("interlaced PNG of fewer than 8 bits");
  });
});

describe("a folder of images", () => {
  const crop = 16;
  let root: string;
  let folder: ImageFolder;
  const tree: Record<string, Uint8Array> = {
    "train/n02/b.JPEG": smoothJpeg(20, 24),
    "train/n02/a.png": png(16, 16, 3),
    "train/n01/c.jpg": smoothJpeg(31, 17),
    "train/n01/.hidden.jpg": bytes(3),
    "train/n01/readme.txt": bytes(3),
    "train/readme.txt": bytes(3),
    "train/n03/misnamed.jpeg": png(19, 18, 1),
    "train/n03/truncated.jpeg": smoothJpeg(40, 40).subarray(0, 700),
    "train/n03/small.png": png(15, 40, 3),
    "val/n03/x.png": png(21, 16, 4),
    "val/n01/y.png": png(16, 23, 3),
  };
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "images-"));
    for (const [path, content] of Object.entries(tree)) {
      await mkdir(join(root, path, ".."), { recursive: true });
      await writeFile(join(root, path), content);
    }
    folder = await openImageFolder(`${root}/`, { files: await nodeFiles(), crop });
  });
  afterAll(async () => rm(root, { recursive: true }));

  const order = (count: number) => Uint32Array.from({ length: count }, (_, i) => i);

  it("has classes by name, images by class and name, those of val behind those of train", () => {
    expect(folder.classNames).toEqual(["n01", "n02", "n03"]);
    expect(folder).toMatchObject({ trainCount: 6, testCount: 2, crop });
    expect([...folder.labels]).toEqual([0, 1, 1, 2, 2, 2, 0, 2]);
    const names = ["n01/c.jpg", "n02/a.png", "n02/b.JPEG", "n03/misnamed.jpeg", "n03/small.png", "n03/truncated.jpeg"];
    const paths = [...names.map((name) => `train/${name}`), "val/n01/y.png", "val/n03/x.png"];
    expect(paths.map((_, i) => folder.pathOf(i))).toEqual(paths.map((path) => `${root}/${path}`));
    expect(() => folder.pathOf(8)).toThrow(RangeError);
  });

  it("gives random cuts to train, from the middle to test, the same on workers", async () => {
    const source = folderSource(folder);
    const good = Uint32Array.of(3, 0, 7, 2);
    for (const augment of [true, false]) {
      const plan = { source, order: good, batch: 3, augment, seed, epoch: 5 };
      const images: number[][] = [];
      for (const workers of [0, 2]) {
        const all: number[] = [];
        for await (const batch of batches({ ...plan, workers })) {
          all.push(...batch.images);
          release(batch);
        }
        images.push(all);
      }
      expect(images[1]).toEqual(images[0]);
      const expected = [...good].flatMap((index) => {
        const path = folder.pathOf(index).slice(root.length + 1);
        const raster = decodeImage(tree[path] ?? new Uint8Array());
        if (typeof raster === "string") return expect.unreachable(raster);
        const pixels = pixelsOf(raster);
        const [rows, columns] = [raster.height - crop, raster.width - crop];
        const cut = augment
          ? drawCut(seed, 5, index, { rows, columns, flip: true })
          : { top: Math.round(rows / 2), left: Math.round(columns / 2), mirrored: false };
        return Array.from({ length: 3 * crop * crop }, (_, i) => {
          const [c, y, x] = [Math.floor(i / crop / crop), Math.floor(i / crop) % crop, i % crop];
          const column = cut.left + (cut.mirrored ? crop - 1 - x : x);
          return Math.fround((pixels[((cut.top + y) * raster.width + column) * 3 + c] ?? NaN) / 255);
        });
      });
      expect(images[0]).toEqual(expected);
    }
  });

  it("refuses the first image that cannot be used, with its name and what is wrong", async () => {
    for (const workers of [0, 1]) {
      const plan = { source: folderSource(folder), batch: 2, augment: true, seed, epoch: 0, workers };
      const all = async (indices: Uint32Array) => {
        for await (const batch of batches({ ...plan, order: indices })) release(batch);
      };
      await expect(all(order(8))).rejects.toMatchObject({
        code: "E_DATA",
        message: expect.stringContaining("train/n03/small.png: this image cannot be used: it has 40 x 15") as string,
      });
      await expect(all(Uint32Array.of(0, 5))).rejects.toThrow("truncated.jpeg: this image cannot be used");
    }
  });

  it("leaves such images out where that is wanted, and names every one of them once", async () => {
    const lines: string[] = [];
    const loader = await BatchLoader.open({
      source: folderSource(folder),
      workers: 1,
      skipBad: true,
      log: (line) => lines.push(line),
    });
    const counts: number[] = [];
    const seen: number[] = [];
    for (const epoch of [0, 1]) {
      const plan = { order: order(8), batch: 2, augment: true, seed, epoch };
      for await (const batch of loader.batches(plan)) {
        counts.push(batch.count);
        if (epoch === 0) seen.push(...batch.indices);
        expect([...batch.labels]).toEqual(Array.from(batch.indices, (index) => folder.labels[index]));
        expect(batch.images).toHaveLength(batch.count * 3 * crop * crop);
        release(batch);
      }
    }
    await loader.close();
    expect(counts).toEqual([2, 2, 2, 2, 2, 2]);
    expect(seen).toEqual([0, 1, 2, 3, 6, 7]);
    expect(loader.badImages.map(({ path }) => path)).toEqual([folder.pathOf(4), folder.pathOf(5)]);
    expect(lines).toHaveLength(2);
  });

  it("that went away while it was read is an error that names the file", async () => {
    const source = { ...folderSource(folder), pathOf: () => `${root}/train/n01/gone.jpg` };
    const gone = batches({ source, order: order(1), batch: 1, augment: false, seed, epoch: 0, workers: 1 });
    await expect(gone.next()).rejects.toThrow("gone.jpg: this image cannot be used: there is no such file");
  });

  it("without classes or images, or with a class in val alone, is refused", async () => {
    const files = await nodeFiles();
    await expect(openImageFolder(`${root}/nothing`, { files })).rejects.toThrow("there are no classes in");
    const fake = (parts: Record<string, string[]>) => ({
      list: async (path: string) => parts[path] ?? [],
      read: async () => undefined,
    });
    const empty = fake({ "r/train": ["a"], "r/train/a": ["b.gif"] });
    await expect(openImageFolder("r", { files: empty })).rejects.toThrow("there are no .jpeg, .jpg or .png files");
    const stray = fake({ "r/train": ["a"], "r/train/a": ["b.png"], "r/val": ["c"], "r/val/c": ["d.png"] });
    await expect(openImageFolder("r", { files: stray })).rejects.toThrow("r/val has the class c, and r/train has not");
    await expect(openImageFolder("r", { files: stray, crop: 0 })).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});
