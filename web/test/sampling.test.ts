/** The kernels that choose tokens: alone, and beside what the page does where logits come to it. */
import { afterAll, expect, test } from "vitest";
import { Sampler } from "../src/cpu/sampler.ts";
import { ModelError } from "../src/errors.ts";
import { isGreedy, type SamplingOptions, samplingParams } from "../src/sampling.ts";
import { loadCore, openGpu } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
afterAll(() => gpu.device.destroy());

const largest = (values: number[]): number => values.indexOf(Math.max(...values));

/** Draws one after the other of a text that begins with `seen`, from the same logits. */
async function drawn(
  logits: number[],
  sampling: SamplingOptions,
  seen: number[],
  draws: number,
): Promise<number[]> {
  const { device } = gpu;
  const isSampled = !isGreedy(sampling);
  const signature = isSampled ? "rwwu" : "rw";
  const text = core.tokenKernel(isSampled, 0, logits.length, gpu.capabilities);
  const pipeline = await gpu.pipeline(isSampled ? "sample_token" : "greedy_token", text, signature);
  const { STORAGE, COPY_DST, COPY_SRC, UNIFORM, MAP_READ } = GPUBufferUsage;
  const filled = (
    data: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>,
    usage: number,
  ) => {
    const buffer = device.createBuffer({ size: data.byteLength, usage: usage | COPY_DST });
    device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  const bits = new Uint32Array(Math.ceil(logits.length / 32));
  for (const token of seen) bits[token >>> 5] |= 1 << (token & 31);
  const token = filled(Uint32Array.of(0, 0, seen.length, 0), STORAGE | COPY_SRC);
  const values = filled(Float32Array.from(logits), STORAGE);
  const buffers = isSampled
    ? [values, filled(bits, STORAGE), token, filled(samplingParams(sampling), UNIFORM)]
    : [values, token];
  const landing = device.createBuffer({ size: 4 * draws, usage: MAP_READ | COPY_DST });
  const group = device.createBindGroup({
    layout: gpu.layout(signature),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  for (let i = 0; i < draws; ++i) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(token, 0, landing, 4 * i, 4);
    device.queue.submit([encoder.finish()]);
  }
  await landing.mapAsync(GPUMapMode.READ);
  const out = [...new Uint32Array(landing.getMappedRange().slice(0))];
  for (const buffer of [...buffers, landing]) buffer.destroy();
  return out;
}

const LOGITS = Array.from({ length: 203 }, (_, i) => 3 * Math.sin(1.7 * i) - 0.01 * i);
const DRAWS = 400;

function probabilities(logits: number[], temperature: number): number[] {
  const most = Math.max(...logits);
  const weights = logits.map((value) => Math.exp((value - most) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function allowed(p: number[], { topK = 0, topP = 1, minP = 0 }: SamplingOptions): Set<number> {
  let order = [...p.keys()].sort((a, b) => p[b] - p[a]);
  if (topK > 0) order = order.slice(0, topK);
  const whole = order.reduce((sum, i) => sum + p[i], 0);
  let mass = 0;
  const kept = order.filter((i, n) => {
    const takes = n === 0 || mass < topP * whole;
    mass += p[i];
    return takes && p[i] >= minP * p[order[0]];
  });
  return new Set(kept);
}

test.each<SamplingOptions>([
  { temperature: 1, topK: 0 },
  { temperature: 0.7, topK: 5 },
  { temperature: 1.3, topK: 0, topP: 0.6 },
  { temperature: 1, topK: 30, topP: 0.8 },
  { temperature: 1, topK: 0, minP: 0.3 },
])("tokens are drawn by their probability: %o", async (sampling) => {
  const p = probabilities(LOGITS, sampling.temperature!);
  const set = allowed(p, sampling);
  const counts = new Map<number, number>();
  for (const token of await drawn(LOGITS, { ...sampling, seed: 7 }, [], DRAWS))
    counts.set(token, (counts.get(token) ?? 0) + 1);
  const mass = [...set].reduce((sum, i) => sum + p[i], 0);
  for (const [token] of counts) expect(set, `token ${token}`).toContain(token);
  let deviation = 0;
  for (const token of set) {
    const expected = (DRAWS * p[token]) / mass;
    if (expected > 5)
      deviation = Math.max(deviation, Math.abs((counts.get(token) ?? 0) - expected) / Math.sqrt(expected));
  }
  expect(deviation).toBeLessThan(5);
});

test("seen tokens become less likely, and seeds repeat", async () => {
  const best = largest(LOGITS);
  const penalty = { temperature: 0, repetitionPenalty: 100, topK: 0 };
  const others = LOGITS.map((value, i) => (i === best ? value / 100 : value));
  expect(await drawn(LOGITS, penalty, [], 2)).toEqual([best, largest(others)]);
  expect(await drawn(LOGITS, penalty, [best], 1)).toEqual([largest(others)]);
  const sampling = { temperature: 1, seed: 11 };
  const first = await drawn(LOGITS, sampling, [], 50);
  expect(await drawn(LOGITS, sampling, [], 50)).toEqual(first);
  expect(new Set(first).size).toBeGreaterThan(5);
  expect(await drawn(LOGITS, { temperature: 1, seed: 12 }, [], 50)).not.toEqual(first);
});

/** The kernel's hash, for a draw that is hard to meet. */
function hash(of: number): number {
  let h = of;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

test("the most noise that there is lets no unlikely token win", async () => {
  const unlikely = 100;
  let seed = 0;
  while (hash(hash(hash(seed)) ^ unlikely) < 0xffffff00) ++seed;
  const logits = LOGITS.map((value, i) => (i === unlikely ? -50 : value));
  const sampling = { temperature: 1, topK: 0, seed };
  expect(await drawn(logits, sampling, [], 1)).not.toEqual([unlikely]);
  expect(new Sampler(sampling, []).next(Float32Array.from(logits))).not.toBe(unlikely);
});

// --- In the page ---

// Wide, so that each invocation has many, and with equal ones wherever a limit may be.
const WIDE = Array.from({ length: 3001 }, (_, i) => Math.fround(4 * Math.sin(0.37 * (i % 2500)) - (i % 7)));
const INFINITE = LOGITS.map((value, i) => (i % 3 === 0 ? Number.NEGATIVE_INFINITY : value));

test.each<[string, SamplingOptions]>([
  ["the likeliest", {}],
  ["the likeliest of what was not said", { repetitionPenalty: 1.7 }],
  ["less likely where it was said", { temperature: 0, repetitionPenalty: 0.5 }],
  ["all", { temperature: 1, topK: 0 }],
  ["40 unless it is said", { temperature: 0.9 }],
  ["a few", { temperature: 1.5, topK: 3 }],
  ["a few and a half", { temperature: 1.5, topK: 3.5 }],
  ["one", { temperature: 2, topK: 1 }],
  ["more than there are", { temperature: 0.4, topK: 5000 }],
  ["a share", { temperature: 1, topK: 0, topP: 0.3 }],
  ["the least share", { temperature: 1, topK: 0, topP: 0 }],
  ["a share of a few", { temperature: 1.1, topK: 20, topP: 0.9 }],
  ["what is not far from the likeliest", { temperature: 3, topK: 0, minP: 0.2 }],
  ["all limits", { temperature: 1.3, topK: 50, topP: 0.95, minP: 0.02, repetitionPenalty: 1.3 }],
  ["hardly any temperature", { temperature: 1e-3, topK: 0 }],
])("the page chooses as the GPU does: %s", async (_, sampling) => {
  const draws = 50;
  const seen = [2, 9, 9, 100, 150];
  for (const logits of [LOGITS, WIDE, INFINITE])
    for (const seed of [3, 0xffffffff]) {
      const options = { ...sampling, seed };
      const sampler = new Sampler(options, seen);
      const values = Float32Array.from(logits);
      const tokens = Array.from({ length: draws }, () => sampler.next(values));
      expect(tokens).toEqual(await drawn(logits, options, seen, draws));
      expect(values).toEqual(Float32Array.from(logits)); // which are the caller's
    }
});

test.each([
  [0.699, [0, 1]],
  [0.701, [0, 1, 2]],
])("the fewest that have a share of %d take part, in the page as on the GPU", async (topP, those) => {
  const logits = [0.4, 0.3, 0.2, 0.1].map(Math.log);
  const options = { temperature: 1, topK: 0, topP, seed: 8 };
  const sampler = new Sampler(options, []);
  const tokens = Array.from({ length: 60 }, () => sampler.next(Float32Array.from(logits)));
  expect([...new Set(tokens)].sort()).toEqual(those);
  expect(tokens).toEqual(await drawn(logits, options, [], 60));
});

test("logits that are no numbers are refused in the page, and so are options out of range", () => {
  const sampler = new Sampler({}, []);
  expect(() => sampler.next(Float32Array.of(1, Number.NaN))).toThrow(
    new ModelError("the model's logits are no numbers (NaN)"),
  );
  expect(() => new Sampler({ minP: 2 }, [])).toThrow("minP is 2, but must be from 0 to 1");
});
