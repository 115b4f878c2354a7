/** The sample program of two matrix products, x [4, 512] * weight1.T * weight2, with made-up weights. */
import { expect } from "vitest";
import { type Program, Tensor } from "../src/index.ts";
import { read } from "../src/source.ts";
import { MadeUpFile } from "./file_server.ts";

const ROWS = 4;
const WIDTHS = [512, 1024, 1100] as const;
const weight = (index: number): number => ((Math.imul(index, 0x9e3779b1) >>> 16) & 255) / 256 - 0.5;

const source = new MadeUpFile("products.head", (words, first) => {
  for (let i = 0; i < words.length; ++i) words[i] = weight(first + i);
});
export const products = await read(source, 0, source.size);

const x = Float32Array.from({ length: ROWS * WIDTHS[0] }, (_, i) => weight(i + 7));
const expected = reference();

function reference(): Float32Array {
  const [k, m, n] = WIDTHS;
  // The matrices end the file, each at a multiple of 16 bytes.
  const second = products.byteLength / 4 - m * n;
  const first = second - m * k;
  const hidden = new Float32Array(ROWS * m);
  for (let r = 0; r < ROWS; ++r)
    for (let j = 0; j < m; ++j)
      for (let i = 0; i < k; ++i) hidden[r * m + j] += x[r * k + i] * weight(first + j * k + i);
  const out = new Float32Array(ROWS * n);
  for (let r = 0; r < ROWS; ++r)
    for (let i = 0; i < m; ++i)
      for (let j = 0; j < n; ++j) out[r * n + j] += hidden[r * m + i] * weight(second + i * n + j);
  return out;
}

/** Expects that the program computes what it should, of rows [first, end). */
export async function expectProducts(program: Program, first = 0, end = ROWS): Promise<void> {
  const rows = end - first;
  const input = Tensor.of(x.subarray(first * WIDTHS[0], end * WIDTHS[0]), [rows, WIDTHS[0]]);
  const [y] = await program.method("forward").execute([input]);
  const data = (y as Tensor).data as Float32Array;
  expect(data.length).toBe(rows * WIDTHS[2]);
  const worst = data.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - expected[first * WIDTHS[2] + i])),
    0,
  );
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest).toBeGreaterThan(1);
  expect(worst).toBeLessThan(1e-5 * largest);
}
