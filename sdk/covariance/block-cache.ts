/**
 * What tiles keep of blocks of images (the rows or columns of a tile): computed when a tile first needs it, and kept while
 * a budget allows, least recently used first out.
 */
import type { ImageBlock } from "./tiles.ts";

export interface CachedBlock {
  readonly bytes: number;
}

/** Bytes that blocks may take of a job's budget: a quarter, and of what wasm can address. */
export function blockBudget(memoryBytes: number): number {
  return Math.floor(Math.min(memoryBytes, 2 ** 32) / 4);
}

export interface BlockMaker<B> {
  readonly rows: ImageBlock;
  /** The same object as `rows` for a symmetric matrix: both sides then share blocks. */
  readonly columns: ImageBlock;
  readonly memoryBytes: number;
  /** Bytes of a block of so many images. */
  bytes(images: number): number;
  make(images: ImageBlock, begin: number, end: number): B;
  free(block: B): void;
}

export class BlockCache<B extends CachedBlock> {
  readonly #maker: BlockMaker<B>;
  readonly #blocks = new Map<string, B>();
  #bytes = 0;

  constructor(maker: BlockMaker<B>) {
    this.#maker = maker;
  }

  /** The block of images [begin, end); making room for it spares `keep`. */
  get(side: "rows" | "columns", begin: number, end: number, keep?: B): B {
    const { rows, columns } = this.#maker;
    const key = `${rows === columns ? "rows" : side}:${begin}:${end}`;
    let block = this.#blocks.get(key);
    if (block === undefined) {
      this.#makeRoom(this.#maker.bytes(end - begin), keep);
      block = this.#maker.make(side === "rows" ? rows : columns, begin, end);
      this.#bytes += block.bytes;
    } else this.#blocks.delete(key);
    this.#blocks.set(key, block);
    return block;
  }

  clear(): void {
    for (const [key, block] of this.#blocks) this.#release(key, block);
  }

  #makeRoom(needed: number, keep: B | undefined): void {
    const budget = blockBudget(this.#maker.memoryBytes);
    for (const [key, block] of this.#blocks) {
      if (this.#bytes + needed <= budget) return;
      if (block !== keep) this.#release(key, block);
    }
  }

  #release(key: string, block: B): void {
    this.#blocks.delete(key);
    this.#bytes -= block.bytes;
    this.#maker.free(block);
  }
}
