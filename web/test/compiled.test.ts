/** Programs that were compiled ahead of time, beside the same ones planned here. */
import { fileURLToPath } from "node:url";
import { crc32, gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeEach, expect, test } from "vitest";
import { CompiledProgram } from "../src/compiled.ts";
import { type CompiledDelegate, CompiledFile, type CompiledForm } from "../src/compiled_file.ts";
import { CompiledModel } from "../src/compiled_model.ts";
import type { Capabilities } from "../src/forms.ts";
import { ModelError, Program, StoppedError, Tensor } from "../src/index.ts";
import type { ByteSource } from "../src/source.ts";
import { FileServer } from "./file_server.ts";
import { MemoryStore } from "./memory_store.ts";
import { loadCore, openGpu, sample } from "./support.ts";

const HEADER_BYTES = 48;
const bytes = sample("decoder.etwg");
const { form } = await CompiledFile.open(source(bytes));
const gpu = await openGpu({ capabilities: form.capabilities });
afterAll(() => gpu.dispose());
const server = await FileServer.start();
afterAll(() => server.stop());
beforeEach(() => {
  server.asked.length = 0;
});

/** Notes where it is read. */
function source(content: Uint8Array, reads: [offset: number, length: number][] = []): ByteSource {
  return {
    name: "model.etwg",
    size: content.byteLength,
    version: "",
    async *stream(offset: number, length: number) {
      reads.push([offset, length]);
      yield content.subarray(offset, offset + length);
    },
  };
}

const tokens = (...list: number[]): Tensor => Tensor.of(list, [1, list.length], "int64");
const position = (at: number): Tensor => Tensor.of([at], [1], "int64");
const PROMPT = [3, 1, 4, 1, 5];

/** Of each step the likeliest token that has not come yet (this decoder likes one above all), and the logits. */
async function decode(program: Program | CompiledProgram, steps: number) {
  const forward = program.method("forward");
  const chosen: number[] = [];
  const logits: Float32Array[] = [];
  let fed = PROMPT;
  for (let at = 0; chosen.length < steps; at += fed.length, fed = chosen.slice(-1)) {
    const [output] = await forward.execute([tokens(...fed), position(at)]);
    const row = (output as Tensor).data as Float32Array;
    logits.push(row);
    const likeliest = [...row.keys()].filter((token) => !chosen.includes(token));
    chosen.push(likeliest.reduce((best, token) => (row[token] > row[best] ? token : best)));
  }
  return { chosen, logits };
}

test("a decoder's tokens and logits are those of the planner in the page, to a bit", async () => {
  const planned = await Program.load(sample("decoder.pte"), { core: await loadCore(), gpu });
  const compiled = await CompiledProgram.load(bytes, { gpu });
  expect(compiled.constants).toEqual(planned.constants);
  expect(compiled.method("forward").inputs).toEqual(planned.method("forward").inputs);
  expect(compiled.gpuBytes).toBeGreaterThan(0);
  const [expected, got] = [await decode(planned, 16), await decode(compiled, 16)];
  expect(got.chosen).toEqual(expected.chosen);
  expect(got.logits).toEqual(expected.logits);
  // Outputs kept on the GPU, and 32-bit tokens, too.
  const [read] = await compiled.method("forward").execute([tokens(7), position(3)]);
  const narrow = [Tensor.of([7], [1, 1], "int32"), Tensor.of([3], [1], "int32")];
  const [kept] = await compiled.method("forward").execute(narrow, { keep: true });
  expect(await (kept as Tensor).read()).toEqual((read as Tensor).data);
  await planned.dispose();
  await compiled.dispose();
});

test("mistakes are sentences, and the next call works", async () => {
  const program = await CompiledProgram.load(new Blob([bytes as Uint8Array<ArrayBuffer>]), { gpu });
  const forward = program.method("forward");
  const call = (...inputs: (Tensor | number)[]) => expect(forward.execute(inputs)).rejects;
  await call(tokens(1)).toThrow("takes 2 inputs, but 1 were given");
  await call(tokens(1, 2), position(0)).toThrow(
    "no plan was compiled for inputs of sizes [1, 2], [1]: there are [1, 1], [1]; [1, 5], [1]",
  );
  await call(tokens(1), position(32)).toThrow(
    "input 1 is 32, but with inputs of sizes [1, 1], [1] it may be 0 to 31",
  );
  await call(tokens(...PROMPT), position(28)).toThrow("input 1 is 28");
  await call(tokens(1), position(-1)).toThrow("input 1 is -1");
  await call(Tensor.of([1.5], [1, 1]), position(0)).toThrow("input 0 is float32");
  await call(tokens(1), 0).toThrow("input 1 must be a tensor");
  expect(() => program.method("backward")).toThrow("no method 'backward', but forward");
  const [logits] = await forward.execute([tokens(1), position(0)]);
  expect((logits as Tensor).sizes).toEqual([1, 64]);
  await program.dispose();
  await expect(forward.execute([tokens(1), position(0)])).rejects.toThrow("disposed of");
  await expect(CompiledProgram.load(bytes, { gpu, methods: ["prefill"] })).rejects.toThrow(
    "no method 'prefill', but forward",
  );
});

// --- Files ---

test("a server's file is read by ranges, and kept", async () => {
  const url = server.serve("decoder.etwg", bytes);
  const store = new MemoryStore();
  const heard: number[] = [];
  const load = () =>
    CompiledProgram.load(url, {
      gpu,
      cache: store,
      onProgress: ({ stage, done, total }) => {
        if (stage === "weights") heard.push(done / total);
      },
    });
  const first = await load();
  expect(heard[0]).toBe(0);
  expect(heard.at(-1)).toBe(1);
  const { chosen } = await decode(first, 4);
  await first.dispose();
  server.asked.length = 0;
  const again = await load();
  expect((await decode(again, 4)).chosen).toEqual(chosen);
  expect(server.asked.reduce((sum, { sent }) => sum + sent, 0)).toBeLessThan(2);
  await again.dispose();
});

test("loading can be stopped", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(CompiledProgram.load(bytes, { gpu, signal })).rejects.toThrow(StoppedError);
});

test("on a new device after the first was lost", async () => {
  const { device, capabilities } = await openGpu({ capabilities: form.capabilities });
  device.destroy();
  await device.lost;
  const adapter = await openGpu();
  const program = await CompiledProgram.load(bytes, { gpu: adapter, capabilities });
  const before = await decode(program, 3);
  adapter.device.destroy();
  await adapter.device.lost;
  await expect(decode(program, 1)).rejects.toThrow("the GPU device was lost");
  const reloaded = await program.reload();
  expect((await decode(reloaded, 3)).chosen).toEqual(before.chosen);
  await reloaded.dispose();
});

// --- Devices ---

const LESS: [Partial<Capabilities>, Partial<Capabilities>, string][] = [
  [{ max_buffer_size: 2 ** 30 }, {}, "a max_buffer_size of 1073741824, but this one has 268435456"],
  [{ max_storage_buffers: 16 }, {}, "a max_storage_buffers of 16, but this one has 8"],
  [{ max_workgroup_size: [256, 512, 64] }, {}, "a max_workgroup_size of 256,512,64"],
  [{ storage_alignment: 32 }, {}, "a storage_alignment of 32, but this one has 256"],
  [{ f16: true }, { f16: false }, "f16, but this one has none"],
  [{}, { subgroups: false }, "subgroups, but this one has none"],
  [{}, { max_subgroup_size: 32 }, "subgroups of 8 to 8, but this one has subgroups of 8 to 32"],
  [{ matrix_size: 16 }, { matrix_size: 8 }, "a matrix_size of 16, but this one has 8"],
];

test.each(LESS)(
  "a device that has less is refused before weights are read: %o",
  async (wanted, has, sentence) => {
    const { file, weightsAt } = changed((head) => Object.assign(head.capabilities, wanted));
    const reads: [number, number][] = [];
    const other = await openGpu({ capabilities: { ...form.capabilities, ...has } });
    const loading = CompiledProgram.load(source(file, reads), { gpu: other });
    await expect(loading).rejects.toThrow(`model.etwg was compiled for devices with ${sentence}`);
    expect(Math.max(...reads.map(([offset]) => offset))).toBeLessThan(weightsAt);
    other.dispose();
  },
);

test("subgroups need no directive in Firefox", () => {
  const [delegate] = form.delegates;
  const kernels = form.kernels.map((text) => `enable subgroups;\n${text}`);
  const model = new CompiledModel(delegate, { form: { ...form, kernels }, uniforms: new Uint8Array(0) });
  expect(model.kernel(0, "tint")).toMatch(/^enable subgroups;/);
  expect(model.kernel(0, "naga")).not.toMatch("enable");
});

// --- What is no such file ---

/** The file with another head, of whatever size. */
function changed(change: (form: CompiledForm) => void): { file: Uint8Array; weightsAt: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const end = HEADER_BYTES + Number(view.getBigUint64(16, true));
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(HEADER_BYTES, end)));
  change(head);
  const json = new TextEncoder().encode(JSON.stringify(head).padEnd(end - HEADER_BYTES));
  expect(json.byteLength).toBe(end - HEADER_BYTES);
  const file = Uint8Array.from(bytes);
  file.set(json, HEADER_BYTES);
  const weightsAt = end + Number(view.getBigUint64(24, true));
  new DataView(file.buffer).setUint32(32, crc32(file.subarray(HEADER_BYTES, weightsAt)), true);
  return { file, weightsAt };
}

const refused = (content: Uint8Array, sentence: string | RegExp) =>
  expect(CompiledProgram.load(source(content), { gpu })).rejects.toThrow(sentence);

test("other files, newer ones, and damaged ones", async () => {
  const begin = (text: string): Uint8Array => new TextEncoder().encode(text.padEnd(100));
  await refused(new Uint8Array(0), "model.etwg is no compiled program that can be read: it does not begin");
  await refused(begin("\x30\0\0\0ET12"), "it is a program (.pte)");
  await refused(begin("<!doctype html>"), "it is a web page (HTML)");
  await refused(begin("hello"), "it does not begin like one");
  await expect(Program.load(bytes, { gpu, core: await loadCore() })).rejects.toThrow(
    "it is a compiled program (.etwg), which CompiledProgram loads",
  );
  const newer = Uint8Array.from(bytes);
  newer[4] = 2;
  await refused(newer, "it has version 2, and this executor reads 1");
  for (const at of [HEADER_BYTES, HEADER_BYTES + 5000, 32]) {
    const damaged = Uint8Array.from(bytes);
    damaged[at] ^= 64;
    await refused(damaged, "it is damaged");
  }
  for (const size of [20, 48, 1000, bytes.byteLength - 1])
    await refused(bytes.subarray(0, size), /does not begin like one|is it truncated\?/);
  const long = Uint8Array.from(bytes);
  new DataView(long.buffer).setBigUint64(16, 1n << 40n, true);
  await refused(long, /its head of \d+ bytes does not fit/);
});

const delegateOf = (head: CompiledForm): CompiledDelegate => head.delegates[0];
const WRONG: [what: string, change: (head: CompiledForm) => void, sentence: string][] = [
  ["no methods", (head) => Object.assign(head, { methods: 1 }), "methods is not a list"],
  [
    "a call of no delegate",
    (head) => Object.assign(head.methods[0].calls[0], { delegate: 9 }),
    "calls[0].delegate",
  ],
  [
    "no delegate",
    (head) => Object.assign(head, { delegates: [] }),
    "has no plans for delegate 0 of method 'forward'",
  ],
  [
    "a constant outside",
    (head) => Object.assign(delegateOf(head).model.constants[0], { offset: 1e9 }),
    "at 1000000000 is not within the file",
  ],
  [
    "a constant of no size",
    (head) => Object.assign(delegateOf(head).model.constants[0], { bytes: -4 }),
    "constants[0].bytes is not a number from 0",
  ],
  [
    "no such kernel",
    (head) => {
      delegateOf(head).kernels[0] = 99;
    },
    "kernels[0] is not a number from 0 to",
  ],
  [
    "a kernel without a text",
    (head) => {
      delegateOf(head).kernels.fill(null);
    },
    "has no text",
  ],
  [
    "no such slot",
    (head) => Object.assign(delegateOf(head).plans[0].plan, { slots: [] }),
    "is not a number from 0 to -1",
  ],
  [
    "no such space",
    (head) => Object.assign(delegateOf(head).plans[0].plan.dispatches[0].bindings[0], { space: "x" }),
    "space is not one of slot",
  ],
  [
    "uniforms outside",
    (head) => Object.assign(delegateOf(head).plans[0], { uniforms: 1e6 }),
    "uniforms is not a number from 0",
  ],
  [
    "scalars that are missing",
    (head) => {
      delegateOf(head).plans[0].scalars.pop();
    },
    "scalars is not a list of 3",
  ],
  [
    "factors that are missing",
    (head) => {
      delegateOf(head).plans[0].scalars[0].factors = [];
    },
    "factors is not a list of 1",
  ],
  [
    "a match of other inputs",
    (head) => {
      delegateOf(head).matches[0].inputs.pop();
    },
    "inputs is not a list of 2",
  ],
];

test.each(WRONG)("heads that are wrong: %s", async (_, change, sentence) => {
  await refused(changed(change).file, sentence);
});

test("heads with anything anywhere are sentences, or run", { timeout: 300_000 }, async () => {
  const others = [null, -1, 2.5, 1e12, "x", [], {}, true];
  let state = 1;
  const random = (most: number): number => {
    state = (state * 48271) % 2147483647;
    return state % most;
  };
  let sentences = 0;
  for (let i = 0; i < 300; ++i) {
    const { file } = changed((head) => {
      // Down to some member, past long texts.
      let at: Record<string, unknown> = delegateOf(head) as never;
      for (let depth = 0; depth < 8; ++depth) {
        const names = Object.keys(at);
        const name = names[random(names.length)];
        const next = at[name];
        if (typeof next === "object" && next !== null && Object.keys(next).length > 0 && random(8) > 0) {
          at = next as Record<string, unknown>;
          continue;
        }
        at[name] = others[random(others.length)];
        break;
      }
    });
    try {
      const program = await CompiledProgram.load(source(file), { gpu });
      await program
        .method("forward")
        .execute([tokens(1), position(0)])
        .catch(expectSentence);
      await program.dispose();
    } catch (error) {
      expectSentence(error);
      ++sentences;
    }
  }
  expect(sentences).toBeGreaterThan(100);
});

function expectSentence(error: unknown): void {
  expect(error).toBeInstanceOf(ModelError);
  expect((error as Error).message).not.toMatch(/undefined|\[object/);
}

// --- Size ---

test("the entry is under 20 KB when minified and compressed, and has no planner", {
  timeout: 120_000,
}, async () => {
  const entry = fileURLToPath(new URL("../src/compiled.ts", import.meta.url));
  const built = await build({
    configFile: false,
    logLevel: "silent",
    build: {
      write: false,
      minify: true,
      modulePreload: false,
      rolldownOptions: { input: entry, preserveEntrySignatures: "strict", output: { format: "es" } },
    },
  });
  const { output } = [built].flat()[0] as { output: { type: string; code: string }[] };
  expect(output.length).toBe(1);
  const { code } = output[0];
  expect(code).toMatch(/CompiledProgram/);
  expect(code).not.toMatch(/etwg_|WebAssembly/);
  expect(gzipSync(code, { level: 9 }).byteLength).toBeLessThan(20_000);
  expect(code.length).toBeLessThan(51_000);
});
