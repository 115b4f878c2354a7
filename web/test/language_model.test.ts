import { expect, test } from "vitest";
import { Generation } from "../src/generation.ts";
import { LanguageModel, Program, Tensor } from "../src/index.ts";
import type { SamplingOptions } from "../src/sampling.ts";
import { refuseNext } from "./counted_device.ts";
import { collectedHeap, loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();
const VOCABULARY = 64;

const load = async (): Promise<Program> =>
  Program.load(sample("decoder.pte"), { core, gpu: await openGpu() });

async function logitsAfter(program: Program, tokens: number[]): Promise<number[]> {
  const inputs = [Tensor.of(tokens, [1, tokens.length], "int64"), Tensor.of([0], [1], "int64")];
  const [logits] = await program.method("forward").execute(inputs);
  return Array.from((logits as Tensor).data as Float32Array);
}

const largest = (values: number[]): number => values.indexOf(Math.max(...values));

async function take(
  program: Program,
  tokens: number[],
  count: number,
  sampling?: SamplingOptions,
): Promise<number[]> {
  const generation = await Generation.create(core, program.method("forward").runner!);
  const out: number[] = [];
  await generation.run(
    { tokens, position: 0, count, text: tokens, ...(sampling && { sampling }) },
    (token) => {
      out.push(token);
      return true;
    },
  );
  generation.dispose();
  return out;
}

test("greedy tokens are the likeliest of each step's logits", async () => {
  const program = await load();
  const text = [3, 1, 4];
  const tokens = await take(program, text, 8);
  for (const token of tokens) {
    expect(token).toBe(largest(await logitsAfter(program, text)));
    text.push(token);
  }
  program.dispose();
});

test("the first token does not wait for the kernels of the steps after it", async () => {
  const gpu = await openGpu();
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const generation = await Generation.create(core, program.method("forward").runner!);
  const { pipeline, submit } = gpu;
  let arrived = (): void => {};
  const first = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  let isPromptSent = false;
  gpu.submit = (what, record) => {
    isPromptSent ||= what === "a step";
    return submit.call(gpu, what, record);
  };
  let held = 0;
  gpu.pipeline = async (...kernel) => {
    if (isPromptSent) {
      ++held;
      await first;
    }
    return pipeline.apply(gpu, kernel);
  };
  const tokens: number[] = [];
  await generation.run({ tokens: [3, 1, 4], position: 0, count: 4 }, (token) => {
    tokens.push(token);
    arrived();
    return true;
  });
  expect(held).toBeGreaterThan(0);
  generation.dispose();
  expect(tokens).toEqual(await take(program, [3, 1, 4], 4));
  await program.dispose();
}, 20_000);

test("two thousand steps leave the memory as it was", async () => {
  const program = await load();
  const generation = await Generation.create(core, program.method("forward").runner!);
  const steps = async (count: number): Promise<void> => {
    const each = 25; // of a context of 32
    for (let done = 0; done < count; done += each)
      await generation.run({ tokens: [3, 1, 4], position: 0, count: each }, () => true);
  };
  const used = async (): Promise<{ js: number; wasm: number; gpu: number }> => ({
    js: await collectedHeap(),
    wasm: core.heapBytes,
    gpu: program.gpuBytes,
  });
  await steps(200);
  const before = await used();
  await steps(2000);
  const after = await used();
  expect(after.wasm).toBe(before.wasm);
  expect(after.gpu).toBe(before.gpu);
  expect(after.js - before.js).toBeLessThan(500_000);
  generation.dispose();
  await program.dispose();
}, 120_000);

// A stand-in for a model: the same logits for any text.
async function drawn(
  logits: number[],
  sampling: SamplingOptions,
  seen: number[],
  draws: number,
): Promise<number[]> {
  const gpu = await openGpu();
  const { device } = gpu;
  const text = core.tokenKernel(true, 0, logits.length, gpu.capabilities);
  const pipeline = await gpu.pipeline("sample_token", text, "rwwu");
  const { samplingParams } = await import("../src/sampling.ts");
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
  const token = filled(new Uint32Array(4), STORAGE | COPY_SRC);
  const seenBuffer = filled(bits, STORAGE);
  const landing = device.createBuffer({ size: 4 * draws, usage: MAP_READ | COPY_DST });
  const group = device.createBindGroup({
    layout: gpu.layout("rwwu"),
    entries: [
      filled(Float32Array.from(logits), STORAGE),
      seenBuffer,
      token,
      filled(samplingParams(sampling), UNIFORM),
    ].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  for (let i = 0; i < draws; ++i) {
    device.queue.writeBuffer(seenBuffer, 0, bits);
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
  device.destroy();
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
  expect(new Set(await drawn(LOGITS, penalty, [], 3))).toEqual(new Set([best]));
  const others = LOGITS.map((value, i) => (i === best ? value / 100 : value));
  expect(new Set(await drawn(LOGITS, penalty, [best], 3))).toEqual(new Set([largest(others)]));
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
  expect(await drawn(logits, { temperature: 1, topK: 0, seed }, [], 1)).not.toEqual([unlikely]);
});

// A word for each token.
const words = Object.fromEntries(Array.from({ length: VOCABULARY }, (_, i) => [`w${i}`, i]));
const TOKENIZER = {
  json: {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: { type: "WordLevel", vocab: words, unk_token: "w0" },
  },
  config: {
    tokenizer_class: "PreTrainedTokenizerFast",
    chat_template: "{% for m in messages %}{{ m.content }} {% endfor %}",
  },
};
const ASKED = [{ role: "user", content: "w3 w1 w4" }];

async function answer(
  model: LanguageModel,
  options: Parameters<LanguageModel["generate"]>[1],
): Promise<string> {
  let text = "";
  for await (const piece of model.generate(ASKED, options)) text += piece;
  return text;
}

test("an answer is the same again, continued from the cache, and after the device was lost at any step", async () => {
  const program = await load();
  const expected = (await take(program, [3, 1, 4], 12)).map((token) => `w${token}`).join(" ");
  let model = await LanguageModel.load({ program, tokenizer: TOKENIZER });
  expect(await answer(model, { maxTokens: 12 })).toBe(expected);
  expect(model.stats).toMatchObject({ promptTokens: 3, newTokens: 12, end: "length", cachedTokens: 0 });
  expect(await answer(model, { maxTokens: 12 })).toBe(expected);
  expect(model.stats?.cachedTokens).toBe(2);
  for (const sampling of [{}, { temperature: 1, seed: 5 }]) {
    const whole = await answer(model, { maxTokens: 12, ...sampling });
    for (let lost = 1; lost < 12; lost += 3) {
      let text = "";
      let pieces = 0;
      for await (const piece of model.generate(ASKED, { maxTokens: 12, ...sampling })) {
        text += piece;
        if (++pieces === lost) model.program.gpu.device.destroy();
      }
      expect(text).toBe(whole);
    }
  }
  model.dispose();
  model = await LanguageModel.load({ program: await load(), tokenizer: TOKENIZER });
  expect(await answer(model, {})).toMatch(/^w\d+( w\d+)*$/);
  expect(model.stats).toMatchObject({ end: "context" });
  model.dispose();
});

test("an answer whose step the GPU refuses fails, and the next one is the same as ever", async () => {
  const model = await LanguageModel.load({ program: await load(), tokenizer: TOKENIZER });
  const whole = await answer(model, { maxTokens: 12 });
  const { device } = model.program.gpu;
  for (const pieces of [0, 1, 5]) {
    let taken = 0;
    const failing = (async () => {
      if (pieces === 0) refuseNext(device);
      for await (const _ of model.generate(ASKED, { maxTokens: 12 }))
        if (++taken === pieces) refuseNext(device);
    })();
    await expect(failing).rejects.toThrow(/^the GPU refused a step: /);
    expect(taken).toBeGreaterThanOrEqual(pieces);
    expect(await answer(model, { maxTokens: 12 })).toBe(whole);
  }
  await model.dispose();
});

test("stop texts end an answer and are not part of it; a signal ends it too", async () => {
  const model = await LanguageModel.load({ program: await load(), tokenizer: TOKENIZER });
  const whole = await answer(model, { maxTokens: 12 });
  const stop = whole.split(" ")[6];
  expect(await answer(model, { maxTokens: 12, stop: [stop] })).toBe(whole.slice(0, whole.indexOf(stop)));
  expect(model.stats?.end).toBe("stop");
  const controller = new AbortController();
  let pieces = 0;
  for await (const _ of model.generate(ASKED, { maxTokens: 20, signal: controller.signal }))
    if (++pieces === 3) controller.abort();
  expect(model.stats?.end).toBe("abort");
  expect(await answer(model, { maxTokens: 12 })).toBe(whole);
  await expect(answer(model, { topP: 2 })).rejects.toThrow("topP is 2, but must be from 0 to 1");
  expect(await answer(model, { maxTokens: 12 })).toBe(whole);
  model.dispose();
});
