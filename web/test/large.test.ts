/** A program of 4.8 GB: it goes through the planner's small memory to a GPU that only counts. */
import { expect, test } from "vitest";
import { openUrl } from "../src/http.ts";
import { Gpu, Program } from "../src/index.ts";
import { read } from "../src/source.ts";
import { sinkDevice } from "./counted_device.ts";
import { FileServer, MadeUpFile } from "./file_server.ts";
import { loadCore } from "./support.ts";

// 18 matrices of 8192 x 8192 floats that end the file; of all but the last a row is an output's.
const SIDE = 8192;
const MATRICES = 18;
const PANEL = 64;
const STEP = 999_983; // a prime, so that the marks fall everywhere; one in each window at least

const file = new MadeUpFile("large.head", (words, first) => {
  for (let i = STEP - 1 - ((first + STEP - 1) % STEP); i < words.length; i += STEP)
    words[i] = mark(first + i);
});
const begin = file.size / 4 - MATRICES * SIDE * SIDE;
const mark = (index: number): number => 1 + ((index / STEP) % 8192);

/** Where a matrix's element lies among its packed words (src/ops/packing.h). */
function packedAt(matrix: number, index: number): number {
  const outer = Math.floor(index / SIDE);
  const inner = index % SIDE;
  const [row, k] = matrix === MATRICES - 1 ? [inner, outer] : [outer, inner];
  return (Math.floor(row / PANEL) * SIDE + k) * PANEL + (row % PANEL);
}

test("every weight of a program beyond 4 GB gets to its place, through little memory", async () => {
  const core = await loadCore();
  let bytes = 0;
  const landed = new Map<string, number>();
  const { device, count } = sinkDevice(8e9, ({ buffer, offset, bytes: written }) => {
    bytes += written.byteLength;
    const words = new Float32Array(written.buffer, written.byteOffset, written.byteLength / 4);
    for (let i = 0; i < words.length; ++i)
      if (words[i] !== 0) landed.set(`${buffer.label} ${offset / 4 + i}`, words[i]);
  });
  const program = await Program.load(file, { core, gpu: await Gpu.open({ device }) });
  expect(program.gpuBytes).toBe(MATRICES * 4 * SIDE * SIDE);
  expect(bytes).toBeGreaterThan(2 ** 32);
  const expected = new Map<string, number>();
  for (let index = Math.ceil(begin / STEP) * STEP; index < file.size / 4; index += STEP) {
    const matrix = Math.floor((index - begin) / (SIDE * SIDE));
    const place = packedAt(matrix, (index - begin) % (SIDE * SIDE));
    expected.set(`constants ${matrix} to ${matrix} ${place}`, mark(index));
  }
  expect(landed.size).toBe(expected.size);
  for (const [place, value] of expected)
    if (landed.get(place) !== value) expect(`${place}: ${landed.get(place)}`).toBe(`${place}: ${value}`);
  expect(core.heapBytes).toBeLessThan(64 << 20);
  await program.dispose();
  count.expectNone();
}, 300_000);

test("a server's file is read beyond 4 GB", async () => {
  const server = await FileServer.start();
  const source = await openUrl(server.serve("large.pte", file), { notice: () => {} });
  expect(source.size).toBe(file.size);
  const index = Math.floor(file.size / 4 / STEP) * STEP;
  expect(index * 4).toBeGreaterThan(2 ** 32);
  const words = new Float32Array((await read(source, 4 * index - 4, 12)).buffer);
  expect([...words]).toEqual([0, mark(index), 0]);
  await server.stop();
});
