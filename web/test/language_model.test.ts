import { expect, test } from "vitest";
import { Generation } from "../src/generation.ts";
import { LanguageModel, Program, Tensor } from "../src/index.ts";
import type { SamplingOptions } from "../src/sampling.ts";
import { refuseNext } from "./counted_device.ts";
import { collectedHeap, loadCore, openGpu, sample } from "./support.ts";
import { ASKED, answer, wordTokenizer } from "./words.ts";

const core = await loadCore();
const TOKENIZER = wordTokenizer(64);

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

test("a next turn goes on behind what was fed, which the last token of an answer was not", async () => {
  const model = await LanguageModel.load({ program: await load(), tokenizer: TOKENIZER });
  const fresh = await LanguageModel.load({ program: await load(), tokenizer: TOKENIZER });
  const first = await answer(model, { maxTokens: 6 });
  const asked = [{ role: "user", content: `${ASKED[0].content} ${first} w9 w2` }];
  expect(await answer(model, { maxTokens: 6 }, asked)).toBe(await answer(fresh, { maxTokens: 6 }, asked));
  expect([model.stats?.cachedTokens, fresh.stats?.cachedTokens]).toEqual([3 + 5, 0]);
  await Promise.all([model.dispose(), fresh.dispose()]);
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
