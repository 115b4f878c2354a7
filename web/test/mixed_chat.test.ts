/** Chat with decoders that are more than one delegate, recorded by tests/python/web/test_mixed.py. */
import { afterAll, expect, test } from "vitest";
import { HostGeneration } from "../src/cpu/generation.ts";
import { decoderOf } from "../src/decoder.ts";
import { Generation } from "../src/generation.ts";
import { LanguageModel, type Method, Program, planOf, profile, Tensor } from "../src/index.ts";
import type { Constants } from "../src/refusals.ts";
import { FileServer } from "./file_server.ts";
import { MemoryStore } from "./memory_store.ts";
import { recorded } from "./recorded_programs.ts";
import { loadCore, openGpu, sample } from "./support.ts";
import { ASKED, answer, said, wordTokenizer } from "./words.ts";

const core = await loadCore();
const gpu = await openGpu();
const server = await FileServer.start();
afterAll(() => {
  server.stop();
  gpu.device.destroy();
});

const CONTEXT = 128;
const tokenizer = wordTokenizer(320);
const LLAMA = "export_llm";
const PLAIN = `${LLAMA} floats-plain-one-floats`;
const WITHOUT_CACHE = `${LLAMA} floats-none-any-floats`;
const BYTES_OF_WORDS = `${LLAMA} 4w-custom-any-8,0`;
const BYTES_OF_CACHE = `${LLAMA} 4w-8 bits-any-floats`;
const FORMS = [PLAIN, WITHOUT_CACHE, BYTES_OF_WORDS, BYTES_OF_CACHE];

const load = async (name: string): Promise<LanguageModel> => {
  const program = await Program.load(recorded(name).file, { core, gpu: await openGpu() });
  return LanguageModel.load({ program, tokenizer });
};

/** The likeliest tokens, with what each call takes made by hand. */
async function greedy(name: string, text: readonly number[], count: number): Promise<number[]> {
  const program = await Program.load(recorded(name).file, { core, gpu });
  const forward = program.method("forward");
  const all = [...text];
  const ofAll = name === WITHOUT_CACHE;
  let fed = 0;
  let logits = Float32Array.of();
  const feed = async (tokens: number[], position: number): Promise<void> => {
    const input = Tensor.of(tokens, [1, tokens.length], "int64");
    const inputs = ofAll ? [input] : [input, Tensor.of([position], [1], "int64")];
    const [output] = (await forward.execute(inputs)) as [Tensor];
    logits = (output.data as Float32Array<ArrayBuffer>).slice(-320);
  };
  while (all.length < text.length + count) {
    if (ofAll) await feed(all, 0);
    else for (; fed < all.length; ++fed) await feed([all[fed]], fed);
    all.push(logits.indexOf(Math.max(...logits)));
  }
  await program.dispose();
  return all.slice(text.length);
}

const words = (tokens: readonly number[]): string => tokens.map((token) => `w${token}`).join(" ");

test.each(FORMS)("%s answers, and goes on from what its states hold", async (name) => {
  const model = await load(name);
  expect(model.program.method("forward").runner).toBeUndefined();
  expect(model.context).toBe(CONTEXT);
  const hasCache = name !== WITHOUT_CACHE;
  const first = await greedy(name, [3, 1, 4], 10);
  expect(await answer(model, { maxTokens: 10 })).toBe(words(first));
  expect(model.stats).toMatchObject({ promptTokens: 3, cachedTokens: 0, newTokens: 10, end: "length" });

  const second = [3, 1, 4, ...first, 7, 8];
  const expected = words(await greedy(name, second, 6));
  expect(await answer(model, { maxTokens: 6 }, said(...second))).toBe(expected);
  // The last token of an answer is not fed.
  expect(model.stats?.cachedTokens).toBe(hasCache ? 12 : 0);

  // The first question and its answer are dropped: nothing but a beginning is there any more.
  const dropped = [3, ...first.slice(5), 7, 8];
  expect(await answer(model, { maxTokens: 6 }, said(...dropped))).toBe(words(await greedy(name, dropped, 6)));
  expect(model.stats?.cachedTokens).toBe(hasCache ? 1 : 0);
  model.reset();
  expect(await answer(model, { maxTokens: 10 })).toBe(words(first));
  expect(model.stats?.cachedTokens).toBe(0);
  await model.dispose();
});

test.each(FORMS)("%s answers the same where the device is lost meanwhile", async (name) => {
  const model = await load(name);
  for (const sampling of [{}, { temperature: 1, topP: 0.9, repetitionPenalty: 1.2, seed: 5 }]) {
    const options = { maxTokens: 8, ...sampling };
    const whole = await answer(model, options);
    expect(whole.split(" ")).toHaveLength(8);
    for (const lost of [1, 2, 7]) {
      let text = "";
      let pieces = 0;
      for await (const piece of model.generate(ASKED, options)) {
        text += piece;
        if (++pieces === lost) model.program.gpu.device.destroy();
      }
      expect(text).toBe(whole);
    }
  }
  await model.dispose();
});

test("stop texts and signals end an answer", async () => {
  const model = await load(BYTES_OF_CACHE);
  const whole = await answer(model, { maxTokens: 12 });
  const stop = whole.split(" ")[6];
  expect(await answer(model, { maxTokens: 12, stop: [stop] })).toBe(whole.slice(0, whole.indexOf(stop)));
  expect(model.stats?.end).toBe("stop");
  const controller = new AbortController();
  let pieces = 0;
  for await (const _ of model.generate(ASKED, { signal: controller.signal }))
    if (++pieces === 3) controller.abort();
  expect(pieces).toBeLessThan(6); // a step may be on its way
  expect(model.stats?.end).toBe("abort");
  await expect(answer(model, { topP: 2 })).rejects.toThrow("topP is 2, but must be from 0 to 1");
  expect(await answer(model, { maxTokens: 12 })).toBe(whole);
  await model.dispose();
});

test("an answer ends with the context, and an end of text ends it before", async () => {
  const model = await load(BYTES_OF_CACHE);
  const whole = (await answer(model, {})).split(" ");
  expect(whole).toHaveLength(CONTEXT - 3);
  expect(model.stats).toMatchObject({ newTokens: CONTEXT - 3, end: "context" });
  const { file } = recorded(BYTES_OF_CACHE);
  const [eos] = [...new Set(whole)].slice(4);
  const config = { ...tokenizer.config, eos_token: eos };
  const other = await LanguageModel.load({
    program: await Program.load(file, { core, gpu }),
    tokenizer: { ...tokenizer, config },
  });
  expect(await answer(other, {})).toBe(whole.slice(0, whole.indexOf(eos)).join(" "));
  expect(other.stats?.end).toBe("eos");
  await Promise.all([model.dispose(), other.dispose()]);
});

test("an answer whose step fails is an error, and the next one is the same as ever", async () => {
  const model = await load(BYTES_OF_WORDS);
  const whole = await answer(model, { maxTokens: 8 });
  const forward = model.program.method("forward");
  const { execute } = forward;
  for (const failing of [1, 4]) {
    let calls = 0;
    forward.execute = (...call) => {
      if (++calls === failing) throw new Error("a fault");
      return execute.apply(forward, call);
    };
    await expect(answer(model, { maxTokens: 8 }, said(9, 9))).rejects.toThrow("a fault");
    forward.execute = execute;
    expect(await answer(model, { maxTokens: 8 })).toBe(whole);
  }
  await model.dispose();
});

test("the page's tokens are the GPU's, of one model and seed", async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const forward: Method = program.method("forward");
  const decoder = decoderOf(forward.form, program.constants);
  expect(decoder.choosesOnGpu).toBe(true);
  for (const sampling of [
    {},
    { temperature: 1, seed: 3 },
    { temperature: 0.8, topK: 9, topP: 0.9, seed: 4 },
  ]) {
    const taken: number[][] = [];
    for (const generation of [
      await Generation.create(core, forward.runner!),
      new HostGeneration(forward, decoder),
    ]) {
      const out: number[] = [];
      const text = [3, 1, 4];
      await generation.run({ tokens: text, position: 0, count: 20, sampling, text }, (token) => {
        out.push(token);
        return true;
      });
      generation.dispose();
      taken.push(out);
    }
    expect(taken[0]).toHaveLength(20);
    expect(taken[1]).toEqual(taken[0]);
  }
  await program.dispose();
});

test("a step's kernels are listed and timed, on the GPU and on the CPU", async () => {
  const program = await Program.load(recorded(BYTES_OF_CACHE).file, { core, gpu });
  const forward = program.method("forward");
  const inputs = [Tensor.of([5], [1, 1], "int64"), Tensor.of([0], [1], "int64")];
  const [expected] = (await forward.execute(inputs)) as [Tensor];
  const plan = await planOf(forward, inputs);
  const onCpu = plan.filter(({ onCpu }) => onCpu).map(({ call }) => call);
  expect(onCpu).toHaveLength(22);
  expect(onCpu).toContain("llama.custom_quantized_sdpa.out");
  expect(plan.length).toBeGreaterThan(22 + 3);
  const firstOnCpu = plan.findIndex(({ onCpu }) => onCpu);
  for (const [i, { onCpu, after }] of plan.entries()) {
    for (const other of after) expect(other).toBeLessThan(i);
    if (onCpu) expect(after).toEqual([i - 1]);
    if (i >= firstOnCpu) expect(after, `step ${i}`).not.toEqual([]);
  }
  const { milliseconds, kernels } = await profile(forward, inputs);
  expect(milliseconds).toBeGreaterThan(0);
  const timed = kernels.flatMap(({ dispatches }) => dispatches);
  expect(timed.sort((a, b) => a - b)).toEqual([...plan.keys()]);
  for (const { kernel, dispatches } of kernels)
    for (const i of dispatches) expect(plan[i].kernel).toBe(kernel);
  const [again] = (await forward.execute(inputs)) as [Tensor];
  expect(again.data).toEqual(expected.data);
  await program.dispose();
});

test("a check says where tokens are chosen, before weights are fetched", async () => {
  const found = await Program.check(server.serve("mixed.pte", recorded(BYTES_OF_CACHE).file), {
    core,
    gpu,
    cache: new MemoryStore(),
  });
  expect(found).toMatchObject({ runs: true, chat: "in the page" });
  expect(found.weights.toFetch).toBeGreaterThan(found.weights.total / 2); // the head has a few
  expect(found.sentences).toContain(
    "It chats, less quickly than one delegate with a cache: each step's logits come to the page, which chooses the token.",
  );
  const one = await Program.check(sample("decoder.pte"), { core, gpu });
  expect(one.chat).toBe("on the GPU");
  expect(one.sentences).toContain("It chats, and its tokens stay on the GPU.");
  expect((await Program.check(recorded("encoder").file, { core, gpu })).chat).toBeUndefined();
});

test.each([
  [
    "encoder",
    "it takes int64 [3,8] and int64 [3,8] and gives float32 [3,32], not logits for tokens [1, S] and a position [1]",
  ],
  [
    "counter",
    "it takes float32 [3] and gives int64 [3] and int64 [3] and float32 [3], not logits for tokens [1, S] and a position [1]",
  ],
])("%s is no language model, which a sentence says", async (name, sentence) => {
  const program = await Program.load(recorded(name).file, { core, gpu });
  await expect(LanguageModel.load({ program, tokenizer })).rejects.toThrow(
    `method 'forward' is no language model: ${sentence}`,
  );
  await program.dispose();
});

test("forms of decoders: positions of all tokens, numbers, a fixed length without a cache", () => {
  const forward = {
    name: "forward",
    kernel_calls: 0,
    kernels: [],
    delegates: [],
    calls: [],
    outputs: [{ id: 2, dtype: "float32", sizes: [1, 9] }],
  };
  const tokens = { id: 0, dtype: "int32", sizes: [1, 16], dynamic: true };
  const inputs = (position: object) =>
    decoderOf({ ...forward, inputs: [tokens, { id: 1, ...position }] }, new Map()).inputs([5, 6], 3);
  expect(inputs({ dtype: "int64", sizes: [16], dynamic: true })[1]).toEqual(Tensor.of([3, 4], [2], "int64"));
  expect(inputs({ dtype: "int32", sizes: [1, 1] })[1]).toEqual(Tensor.of([3], [1, 1], "int32"));
  expect(inputs({ value: 0 })[1]).toBe(3);
  const alone = (input: object, constants: Constants) =>
    decoderOf({ ...forward, inputs: [{ ...tokens, ...input }] }, constants);
  const length: Constants = new Map([["get_max_seq_len", 16]]);
  expect(alone({}, length)).toMatchObject({ longest: 16, context: 16, hasCache: false });
  expect(() => alone({ dynamic: false }, length)).toThrow(
    "method 'forward' takes exactly 16 tokens and has no cache, so that nothing can follow them",
  );
  expect(() => alone({}, new Map())).toThrow("method 'forward' takes tokens alone, as encoders do");
});
