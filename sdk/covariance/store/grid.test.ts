import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Grid, isStored, pairsOf, shardTiles, snakeOrder, tileColumns, tileRows } from "./grid.ts";

const grids = fc
  .record({
    rows: fc.integer({ min: 1, max: 40 }),
    columns: fc.integer({ min: 1, max: 40 }),
    tile: fc.integer({ min: 1, max: 17 }),
  })
  .chain(({ rows, columns, tile }) =>
    fc.constantFrom<Grid>({ rows, columns, tile, symmetric: false }, { rows, columns: rows, tile, symmetric: true }),
  );
const name = ({ i, j }: { i: number; j: number }) => `${i}/${j}`;

describe("the grid of tiles", () => {
  it("is visited once, and each tile shares its row or its column with the one before", () => {
    fc.assert(
      fc.property(grids, (grid) => {
        const tiles = snakeOrder(grid);
        const expected = new Set<string>();
        for (let i = 0; i < tileRows(grid); i++) {
          for (let j = 0; j < tileColumns(grid); j++) if (isStored(grid, { i, j })) expected.add(name({ i, j }));
        }
        expect(new Set(tiles.map(name))).toEqual(expected);
        expect(tiles).toHaveLength(expected.size);
        if (grid.symmetric) return;
        tiles.slice(1).forEach((tile, at) => {
          const before = tiles[at];
          expect(tile.i === before?.i || tile.j === before?.j).toBe(true);
        });
      }),
    );
  });

  it("is divided into disjoint shards that cover it and differ by one tile at most", () => {
    fc.assert(
      fc.property(grids, fc.integer({ min: 1, max: 9 }), (grid, count) => {
        const shards = Array.from({ length: count }, (_, index) => shardTiles(grid, { index, count }));
        expect(shards.flat()).toEqual(snakeOrder(grid));
        const sizes = shards.map((shard) => shard.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("counts a symmetric matrix's pairs once", () => {
    fc.assert(
      fc.property(grids, (grid) => {
        const pairs = snakeOrder(grid).reduce((sum, tile) => sum + pairsOf(grid, tile), 0);
        expect(pairs).toBe(grid.symmetric ? (grid.rows * (grid.rows + 1)) / 2 : grid.rows * grid.columns);
      }),
    );
  });
});
