/** Weights that a program dequantizes are so once, while they are uploaded. */
import { afterAll, beforeEach, expect, test } from "vitest";
import { Program, type Progress, Tensor } from "../src/index.ts";
import { FileServer } from "./file_server.ts";
import { loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
const server = await FileServer.start();
afterAll(() => server.stop());
beforeEach(() => server.takeSent());

// --- The sample: x * (weight with zero points).T + x * (weight without).T + bias ---

const [ROWS, N, K, GROUP] = [4, 1100, 1024, 64];
const BYTES = { weight: N * K, scales: (4 * N * K) / GROUP, points: (N * K) / GROUP, rowScales: 4 * N };

const head = sample("dequantized.head");
const file = made(core.program(head, head.byteLength + (1 << 30)).named_data);

function made(places: readonly { key: string; offset: number; size: number }[]): Uint8Array {
  const out = new Uint8Array(Math.max(...places.map(({ offset, size }) => offset + size)));
  out.set(head);
  for (const { key, offset, size } of places) {
    if (key === "zeros") continue;
    if (key.endsWith("scales"))
      new Float32Array(out.buffer, offset, size / 4).forEach((_, i, scales) => {
        scales[i] = ((i % 13) + 1) / 1024;
      });
    else for (let i = 0; i < size; ++i) out[offset + i] = Math.imul(i + size, 0x9e3779b1) >>> 24;
  }
  return out;
}

const x = Float32Array.from({ length: ROWS * K }, (_, i) => ((i * 7) % 32) / 32 - 0.5);

function reference(): Float64Array {
  const places = new Map(core.program(file, file.byteLength).named_data.map((entry) => [entry.key, entry]));
  const integers = (key: string): Int8Array =>
    new Int8Array(file.buffer, places.get(key)!.offset, places.get(key)!.size);
  const floats = (key: string): Float32Array =>
    new Float32Array(file.buffer, places.get(key)!.offset, places.get(key)!.size / 4);
  const [weight, points, bias] = ["weight", "zero points", "bias"].map(integers);
  const [scales, rowScales] = ["scales", "row scales"].map(floats);
  const out = new Float64Array(ROWS * N);
  for (let r = 0; r < ROWS; ++r)
    for (let n = 0; n < N; ++n) {
      let sum = (bias[n] - 3) * 0.25;
      for (let k = 0; k < K; ++k) {
        const block = Math.floor((n * K + k) / GROUP);
        const floating = (weight[n * K + k] - points[block]) * scales[block];
        sum += x[r * K + k] * (floating + weight[n * K + k] * rowScales[n]);
      }
      out[r * N + n] = sum;
    }
  return out;
}
const expected = reference();

/** The largest difference, in parts of the largest value. */
async function error(program: Program): Promise<number> {
  const [y] = await program.method("forward").execute([Tensor.of(x, [ROWS, K])]);
  const { data } = y as Tensor;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest).toBeGreaterThan(1);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - Number(data[i]))), 0) / largest;
}

// --- What comes of it ---

test("no call dequantizes, and the result is as exact as sums are", async () => {
  const program = await Program.load(file, { core, gpu });
  expect(await error(program)).toBeLessThan(1e-5);
  const calls = program
    .method("forward")
    .runner!.model.plan()
    .dispatches.map(({ call }) => call);
  expect(calls.length).toBeGreaterThan(0);
  for (const call of calls) expect(call).not.toContain("dequantize");
  await program.dispose();
});

test("the constants' types are those that layers want", async () => {
  const program = await Program.load(file, { core, gpu });
  const { constants } = program.method("forward").runner!.model.describe();
  const packings = constants.map(({ packing }) => packing).sort();
  // 8-bit elements where zero points are zeros, floats where they are not, and for the bias.
  expect(packings).toEqual(["float-panels", "float-panels", "q8-panels", "words"]);
  expect(constants.flatMap(({ parts }) => parts.map(({ made_of }) => made_of?.length ?? 0)).sort()).toEqual([
    0, 0, 1, 3,
  ]);
  await program.dispose();
});

test.each(["weight", "scales", "zero points", "bias", "row scales"])(
  "other bytes of the %s give another result",
  async (name) => {
    const other = file.slice();
    const { offset, size } = core
      .program(other, other.byteLength)
      .named_data.find(({ key }) => key === name)!;
    for (let i = 0; i < size; ++i) other[offset + i] ^= 1 << (i % 7);
    const program = await Program.load(other, { core, gpu });
    expect(await error(program)).not.toBeLessThan(1e-4); // also where it is no number
    await program.dispose();
  },
);

test("bytes to fetch and bytes fetched are those of the file", async () => {
  const url = server.serve("dequantized.pte", file);
  const { weights, memory } = await Program.check(url, { core, gpu });
  expect(weights.total).toBe(BYTES.weight + BYTES.scales + BYTES.points + BYTES.rowScales + N);
  // Heads, and what tells whether zero points are zeros.
  expect(server.takeSent()).toBeLessThan(100_000);
  const heard: Progress[] = [];
  const program = await Program.load(url, { core, gpu, onProgress: (progress) => heard.push(progress) });
  const last = heard.filter(({ stage }) => stage === "weights").at(-1)!;
  expect(last.done).toBe(last.total);
  expect(heard.every(({ done, total }) => done <= total)).toBe(true);
  expect(last.total).toBeGreaterThanOrEqual(weights.total);
  expect(last.total).toBeLessThan(1.1 * weights.total);
  expect(server.takeSent()).toBeLessThan(1.2 * weights.total);
  expect(memory.constants + memory.states).toBe(program.gpuBytes);
  expect(await error(program)).toBeLessThan(1e-5);
  await program.dispose();
});

test("kernels are tried with made-up values of them", async () => {
  const notices: string[] = [];
  const onNotice = (text: string): number => notices.push(text);
  const program = await Program.load(file, { core, gpu, selfTest: true, onNotice });
  expect(notices).toEqual([]);
  expect(await error(program)).toBeLessThan(1e-5);
  await program.dispose();
});

test("the planner's memory holds windows, not weights", async () => {
  const own = await loadCore();
  const program = await Program.load(file, { core: own, gpu });
  // As floats the weight alone is 4.5 MB.
  expect(own.heapBytes).toBeLessThan(24 << 20);
  for (const { size, ranges } of program.method("forward").runner!.model.windows(false, 0, 1 << 20)) {
    expect(size).toBeLessThanOrEqual(1 << 20);
    for (const range of ranges) expect(range.size).toBeLessThanOrEqual(1 << 20);
  }
  await program.dispose();
});
