/** The core as wasm: from a file's beginning to plans, kernels and packed weights, without a GPU. */
import { readFileSync } from "node:fs";
import { brotliCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { type Core, type CoreModel, FileKind, HEADER_BYTES, NO_CONSTANTS } from "../src/core.ts";
import {
  type Capabilities,
  type ModelOptions,
  type PackedForm,
  type ProgramForm,
  sourcesOf,
} from "../src/forms.ts";
import type { LiveInput } from "../src/planned_model.ts";
import { loadCore, path, sample } from "./support.ts";

const core = await loadCore();

// --- The decoder among the samples ---

// What is not said are WebGPU's default limits.
const DEVICE: Partial<Capabilities> = { version: 1, adapter_class: "discrete", dialect: "tint" };
const file = sample("decoder.pte");
const blob = sample("decoder.vk");

/** No more of a file than the core asks for. */
function headOf(kind: FileKind, bytes: Uint8Array): Uint8Array {
  return bytes.subarray(0, core.headSize(kind, bytes.subarray(0, HEADER_BYTES), bytes.byteLength));
}

const program: ProgramForm = core.program(headOf(FileKind.program, file), file.byteLength);

function dataOf(key: string): Uint8Array {
  const found = program.named_data.find((entry) => entry.key === key);
  if (found === undefined) throw new Error(`the sample has no '${key}'`);
  return file.subarray(found.offset, found.offset + found.size);
}

function loadDecoder({ bytes = blob, capabilities = DEVICE, options = {} as ModelOptions } = {}): CoreModel {
  return core.delegate(bytes, bytes.byteLength).load({ capabilities, options }, NO_CONSTANTS);
}

function withDecoder(use: (model: CoreModel) => void): void {
  const model = loadDecoder();
  try {
    use(model);
  } finally {
    model.dispose();
  }
}

const call = (tokens: number, position: number): LiveInput[] => [
  { sizes: [1, tokens], scalar: 0 },
  { sizes: [1], scalar: 0, elements: Int32Array.of(position) },
];
const prepare = (model: CoreModel, tokens: number, position: number): number =>
  model.prepare(call(tokens, position), true);

// --- The module ---

test("the module imports nothing: no GPU, thread, file, clock or console", async () => {
  const module = await WebAssembly.compile(readFileSync(path("build/wasm/etwebgpu.wasm")));
  expect(WebAssembly.Module.imports(module)).toEqual([]);
});

test("the module is under 400 KB when compressed", { timeout: 300_000 }, () => {
  const compressed = brotliCompressSync(readFileSync(path("build/wasm/etwebgpu.wasm"))); // quality 11
  expect(compressed.byteLength).toBeLessThan(400_000);
});

// --- Files ---

test("a program's beginning says what is in it", () => {
  expect(headOf(FileKind.program, file).byteLength).toBeLessThan(file.byteLength / 10);
  expect(program).toEqual(core.program(file, file.byteLength));
  const [forward, maxLength, useCache] = program.methods;
  expect(program.methods.map(({ name }) => name)).toEqual(["forward", "get_max_seq_len", "use_kv_cache"]);
  expect(forward.inputs[0]).toEqual({ id: 0, dtype: "int64", sizes: [1, 31], dynamic: true });
  expect(maxLength.outputs).toEqual([{ id: 0, value: 32 }]);
  expect(useCache.outputs).toEqual([{ id: 0, value: true }]);
  const [{ offset, size }] = forward.delegates;
  expect(file.subarray(offset, offset + size)).toEqual(blob);
});

test("a data file's beginning says what is in it", () => {
  const weights = sample("weights.ptd");
  const head = headOf(FileKind.data, weights);
  expect(head.byteLength).toBeLessThan(weights.byteLength);
  const form = core.dataFile(head, weights.byteLength);
  expect(form).toEqual(core.dataFile(weights, weights.byteLength));
  expect(form.named_data.map(({ key, size }) => [key, size])).toEqual([
    ["bias", 16],
    ["weight", 64],
  ]);
});

test("a delegate's beginning is enough where its constants lie behind it", () => {
  // As if constants followed: what is behind the head is never looked at.
  const longer = blob.byteLength + (5 << 30);
  expect(core.headSize(FileKind.delegate, blob.subarray(0, HEADER_BYTES), blob.byteLength)).toBe(
    blob.byteLength,
  );
  const delegate = core.delegate(blob, longer);
  expect(delegate.form.constants.map(({ key }) => key)).toContain("embedding.weight");
  delegate.discard();
});

// --- Models ---

test("a model says what it takes, gives and keeps", () => {
  withDecoder(({ form }) => {
    expect(form.inputs.map((input) => input.wants_host_data)).toEqual([false, true]);
    expect(form.outputs[0].sizes).toEqual([1, 64]);
    // Both caches come from one key of zeros and are still two.
    expect(form.states.length).toBe(2);
    expect(form.constants.length).toBeGreaterThan(5);
  });
});

test("an f16 cache halves the states", () => {
  withDecoder(({ form }) => {
    const halves = loadDecoder({ options: { kv_cache_dtype: "f16" } });
    expect(halves.form.states.map(({ bytes }) => 2 * bytes)).toEqual(form.states.map(({ bytes }) => bytes));
    halves.dispose();
  });
});

test("a call's values are matched with the graph's", () => {
  withDecoder((model) => {
    const values = [
      { id: 0, dtype: "int64", sizes: [1, 5] },
      { id: 1, dtype: "int64", sizes: [1] },
      { id: 2, dtype: "float32", sizes: [1, 64] },
    ];
    expect(model.match(values, false)).toEqual({ inputs: [[0], [1]], first_output: 2, outputs: [0] });
    expect(() => model.match(values.slice(1), false)).toThrow("do not fit its 2 inputs");
  });
});

// --- Weights ---

/** Through windows of at most so many bytes; each is given the bytes that it asks for, and no others. */
function pack(model: CoreModel, state: boolean, index: number, form: PackedForm, most: number): Uint8Array {
  const out = new Uint8Array(form.bytes);
  let packed = 0;
  for (const window of model.windows(state, index, most)) {
    const { part, size, ranges, pieces, stride } = window;
    const sources = sourcesOf(form.parts[part]);
    expect(ranges.length).toBe(sources.length);
    const made = model.pack(state, index, most, window, (room) => {
      let at = 0;
      for (const [i, { offset, size }] of ranges.entries()) {
        expect(offset + size).toBeLessThanOrEqual(sources[i].bytes);
        room.set(dataOf(sources[i].key).subarray(offset, offset + size), at);
        at += size;
      }
    });
    const each = size / pieces;
    for (let i = 0; i < pieces; ++i)
      out.set(made.subarray(i * each, (i + 1) * each), window.offset + i * stride);
    packed += size;
  }
  expect(packed).toBe(form.bytes);
  return out;
}

test("a constant packed by windows of any size is the same", () => {
  withDecoder((model) => {
    let windows = 0;
    const constants = model.form.constants.map((form, index) => ({ form, index, state: false }));
    const states = model.form.states.map((form, index) => ({ form, index, state: true }));
    for (const { form, index, state } of [...constants, ...states]) {
      const whole = pack(model, state, index, form, 1 << 20);
      if (form.packing === "words") expect(whole).toEqual(dataOf(form.parts[0].key).slice());
      else expect(whole.some((byte) => byte !== 0)).toBe(true);
      for (const most of [16, 300, 512, 1024]) {
        expect(pack(model, state, index, form, most)).toEqual(whole);
        windows += model.windows(state, index, most).length;
      }
    }
    expect(windows).toBeGreaterThan(4 * (constants.length + states.length));
  });
});

// --- Plans ---

test("plans for prefill and decode, and back to the first", () => {
  withDecoder((model) => {
    const { form } = model;
    const prefill = prepare(model, 5, 0);
    const plan = model.plan();
    expect(model.uniforms().byteLength).toBe(plan.uniform_bytes);
    expect(plan.dispatches.length).toBeGreaterThan(0);
    expect(plan.outputs[0].sizes).toEqual([1, 64]);
    for (const { kernel_index, bindings } of plan.dispatches) {
      expect(model.kernel(kernel_index, "tint")).toContain("@compute");
      for (const { space, index, offset, size } of bindings) {
        const room = {
          slot: plan.slots[index],
          constant: form.constants[index]?.bytes,
          state: form.states[index]?.bytes,
          uniforms: plan.uniform_bytes,
          scalars: Number.POSITIVE_INFINITY,
        }[space];
        expect(size).toBeGreaterThan(0);
        expect(offset + size, `${space} ${index}`).toBeLessThanOrEqual(room);
      }
    }
    const decode = prepare(model, 1, 5);
    expect(decode).not.toBe(prefill);
    expect(model.plan()).not.toEqual(plan);
    expect(prepare(model, 5, 0)).toBe(prefill);
    expect(model.plan()).toEqual(plan);
  });
});

test("a new position is no new plan, but another scalar", () => {
  withDecoder((model) => {
    const decode = prepare(model, 1, 5);
    expect([...model.scalars()]).toContain(5);
    expect(prepare(model, 1, 6)).toBe(decode);
    expect([...model.scalars()]).toContain(6);
  });
});

test("kernels for both front ends", () => {
  withDecoder((model) => {
    const used = [call(5, 0), call(1, 5)].flatMap((inputs) => {
      model.prepare(inputs, true);
      return model.plan().dispatches.map(({ kernel_index }) => kernel_index);
    });
    for (const dialect of ["tint", "naga"] as const) {
      const texts = [...new Set(used)].map((index) => model.kernel(index, dialect));
      const device = { max_workgroup_invocations: 64, dialect };
      const choices = [false, true].map((sampled) => core.tokenKernel(sampled, 0, 64, device));
      for (const text of [...texts, ...choices]) {
        expect(text).toMatch(/@compute/);
        expect(text).not.toMatch(/\$\{|^#/m);
      }
    }
  });
});

// --- Mistakes are sentences, and the next call works ---

test("what a model cannot do", () => {
  withDecoder((model) => {
    const prefill = prepare(model, 5, 0);
    expect(() => prepare(model, 32, 0)).toThrow(/32.*bound of 31|bound/);
    expect(() => prepare(model, 1, 32)).toThrow("32");
    expect(() => model.prepare(call(5, 0).slice(1), true)).toThrow("input");
    expect(() => model.kernel(999, "tint")).toThrow("not one numbered 999");
    expect(() => model.windows(false, 999, 16)).toThrow("not one numbered 999");
    const [window] = model.windows(false, 0, 16);
    const [{ offset, size }] = window.ranges;
    const wrong = { ...window, ranges: [{ offset, size: size - 4 }] };
    expect(() => model.pack(false, 0, 16, wrong, () => {})).toThrow("the window makes");
    expect(() => model.pack(false, 0, 16, { ...window, number: 999 }, () => {})).toThrow(
      "not one numbered 999",
    );
    expect(prepare(model, 5, 0)).toBe(prefill);
  });
});

test.each<[object, ModelOptions, string]>([
  [{ version: 2 }, {}, "'version' must be 1"],
  [{ max_bufer_size: 1 }, {}, "no member 'max_bufer_size'"],
  [{ subgroups: 1 }, {}, "'subgroups' must be true or false"],
  [{ max_storage_buffers: -1 }, {}, "'max_storage_buffers' must be a whole number"],
  [{ adapter_class: "voodoo" }, {}, "'adapter_class' must be one of"],
  [{ max_workgroup_size: [1, 2] }, {}, "list of three"],
  [{}, { kv_cache_dtype: "f8" } as object, "'kv_cache_dtype' must be f32 or f16"],
  [{}, { speed: "most" } as object, "no option 'speed'"],
])("settings are refused by name: %o %o", (capabilities, options, sentence) => {
  expect(() => loadDecoder({ capabilities, options })).toThrow(sentence);
  withDecoder((model) => expect(prepare(model, 5, 0)).toBeGreaterThan(0));
});

test("files that are cut short or others", () => {
  expect(() => loadDecoder({ bytes: blob.subarray(0, 100) })).toThrow(
    "does not fit into the blob of 100 bytes",
  );
  const renamed = Uint8Array.from(blob);
  renamed.set(new TextEncoder().encode("VHxx"), 4);
  expect(() => loadDecoder({ bytes: renamed })).toThrow("'VHxx', expected 'VH00'");
  expect(() => core.program(file.subarray(0, 300), 300)).toThrow(/truncated|malformed|does not fit/);
  for (const [kind, bytes] of [
    [FileKind.program, file],
    [FileKind.data, sample("weights.ptd")],
    [FileKind.delegate, blob],
  ] as const) {
    const head = headOf(kind, bytes);
    expect(() => readHead(core, kind, head.subarray(0, head.byteLength - 8), bytes.byteLength)).toThrow();
    expect(() => core.headSize(kind, new Uint8Array(HEADER_BYTES), bytes.byteLength)).toThrow();
  }
  withDecoder((model) => expect(prepare(model, 5, 0)).toBeGreaterThan(0));
});

function readHead(reader: Core, kind: FileKind, head: Uint8Array, size: number): void {
  if (kind === FileKind.program) reader.program(head, size);
  else if (kind === FileKind.data) reader.dataFile(head, size);
  else reader.delegate(head, size).discard();
}
