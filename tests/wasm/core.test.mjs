// The core as wasm: no imports, and the way of a page through it: program, model, weights, plan, kernels.
//   node core.test.mjs etwebgpu.wasm SAMPLES     (SAMPLES from make_corpus)
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [modulePath, samples] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(modulePath));

// --- No GPU, thread, file, clock or console: nothing at all from outside ---
assert.deepEqual(WebAssembly.Module.imports(module), []);

const core = new WebAssembly.Instance(module, {}).exports;
core._initialize();

// --- Small helpers over the exports ---
const text = () =>
  new TextDecoder().decode(new Uint8Array(core.memory.buffer, core.etwg_result(), core.etwg_result_size()));
const json = () => JSON.parse(text());

function give(bytes) {
  const at = core.etwg_alloc(bytes.byteLength);
  assert.notEqual(at, 0);
  const source = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  new Uint8Array(core.memory.buffer, at, bytes.byteLength).set(source);
  return at;
}

// What is not said are WebGPU's default limits.
const device = { capabilities: { version: 1, adapter_class: "discrete", dialect: "tint" } };

function load(blob, settings = device) {
  const text = new TextEncoder().encode(JSON.stringify(settings));
  return core.etwg_load(give(blob), blob.byteLength, give(text), text.byteLength);
}

// inputs: [{sizes, elements?, scalar?}]
function prepare(model, inputs) {
  const words = new Int32Array(12 * inputs.length);
  inputs.forEach(({ sizes = [], elements = [], scalar = 0 }, i) => {
    const data = Int32Array.from(elements);
    words.set([sizes.length, ...sizes], 12 * i);
    words.set([scalar, data.length > 0 ? give(data) : 0, data.length], 12 * i + 9);
  });
  return core.etwg_prepare(model, give(words), inputs.length);
}

function plan() {
  core.etwg_plan_json();
  return json();
}

// --- A program ---
const file = readFileSync(join(samples, "decoder.pte"));
assert.equal(core.etwg_program(give(file), file.byteLength), 1, text());
const program = json();
assert.deepEqual(program.methods.map((m) => m.name), ["forward", "get_max_seq_len", "use_kv_cache"]);
const [forward, maxLength, useCache] = program.methods;
assert.deepEqual(forward.inputs[0], { dtype: "int64", sizes: [1, 31], dynamic: true });
assert.deepEqual(maxLength.outputs, [32]);
assert.deepEqual(useCache.outputs, [true]);
const { offset, size } = forward.delegates[0];
const blob = file.subarray(offset, offset + size);
assert.deepEqual(new Uint8Array(blob), new Uint8Array(readFileSync(join(samples, "decoder.vk"))));
const namedData = new Map(program.named_data.map((entry) => [entry.key, entry]));

// --- A model ---
const model = load(blob);
assert.notEqual(model, 0, text());
core.etwg_model_json(model);
const description = json();
assert.equal(description.inputs.length, 2);
assert.deepEqual(description.inputs.map((input) => input.wants_host_data), [false, true]);
assert.deepEqual(description.outputs[0].sizes, [1, 64]);
// Both caches come from one key of zeros and are still two.
assert.equal(description.states.length, 2);
assert.ok(description.constants.length > 5);

// --- Weights: a constant packed at once is the same as packed in pieces ---
function pack(isState, index, constant, from, length) {
  const sources = new Uint32Array(2 * constant.parts.length);
  constant.parts.forEach((part, i) => {
    const entry = namedData.get(part.key);
    assert.ok(entry && entry.size >= part.bytes, part.key);
    sources.set([give(file.subarray(entry.offset, entry.offset + entry.size)), entry.size], 2 * i);
  });
  const out = core.etwg_alloc(length);
  const args = [give(sources), constant.parts.length, from, out, length];
  assert.equal(core.etwg_pack(model, isState, index, ...args), 1, text());
  return new Uint8Array(core.memory.buffer.slice(out, out + length));
}
let packedBytes = 0;
for (const [isState, list] of [[0, description.constants], [1, description.states]]) {
  list.forEach((constant, index) => {
    const whole = pack(isState, index, constant, 0, constant.bytes);
    const half = 16 * Math.floor(constant.bytes / 32);
    assert.deepEqual(whole.subarray(0, half), pack(isState, index, constant, 0, half));
    assert.deepEqual(whole.subarray(half), pack(isState, index, constant, half, constant.bytes - half));
    packedBytes += constant.bytes;
  });
}

// --- Plans: prefill, decode, and back to the first ---
const prefill = [{ sizes: [1, 5] }, { sizes: [1], elements: [0] }];
const first = prepare(model, prefill);
assert.ok(first > 0, text());
const prefillPlan = plan();
core.etwg_plan_uniforms();
assert.equal(core.etwg_result_size(), prefillPlan.uniform_bytes);
assert.ok(prefillPlan.dispatches.length > 0);
for (const dispatch of prefillPlan.dispatches) {
  assert.ok(dispatch.kernel_index < core.etwg_kernel_count(model));
  for (const { space, index, offset, size } of dispatch.bindings) {
    const room = {
      slot: prefillPlan.slots[index],
      constant: description.constants[index]?.bytes,
      state: description.states[index]?.bytes,
      uniforms: prefillPlan.uniform_bytes,
      scalars: Infinity,
    }[space];
    assert.ok(size > 0 && offset + size <= room, `${space} ${index}: ${offset} + ${size} of ${room}`);
  }
}
assert.deepEqual(prefillPlan.outputs[0].sizes, [1, 64]);

const decodeAt = (position) => prepare(model, [{ sizes: [1, 1] }, { sizes: [1], elements: [position] }]);
const decode = decodeAt(5);
assert.ok(decode > 0 && decode !== first, text());
core.etwg_clear_dirty(model);
assert.equal(decodeAt(6), decode, "a new position is no new plan");
const scalars = [...new Int32Array(core.memory.buffer, core.etwg_scalars(model), description.scalars)];
const dirty = [...new Uint8Array(core.memory.buffer, core.etwg_dirty(model), description.scalars)];
assert.ok(scalars.some((value, slot) => value === 6 && dirty[slot] === 1), `${scalars} ${dirty}`);
assert.equal(prepare(model, prefill), first);

// --- Kernels, for both front ends ---
for (let i = 0; i < core.etwg_kernel_count(model); ++i) {
  for (const dialect of [0, 1]) {
    assert.equal(core.etwg_kernel(model, i, dialect), 1, text());
    assert.match(text(), /@compute/);
    assert.doesNotMatch(text(), /\$\{|^#/m);
  }
}

// --- Mistakes are sentences, and the next call works ---
assert.equal(prepare(model, [{ sizes: [1, 32] }, { sizes: [1], elements: [0] }]), 0);
assert.match(text(), /32.*bound of 31|bound/);
assert.equal(prepare(model, prefill), first);
assert.equal(core.etwg_kernel(model, 999, 0), 0);
assert.match(text(), /not one numbered 999/);
for (const [settings, sentence] of [
  [{ capabilities: { version: 2 } }, /'version' must be 1/],
  [{ capabilities: { max_bufer_size: 1 } }, /no member 'max_bufer_size'/],
  [{ capabilities: { subgroups: 1 } }, /'subgroups' must be true or false/],
  [{ capabilities: { max_storage_buffers: -1 } }, /'max_storage_buffers' must be a whole number/],
  [{ capabilities: { adapter_class: "voodoo" } }, /'adapter_class' must be one of/],
  [{ capabilities: { max_workgroup_size: [1, 2] } }, /list of three/],
  [{ options: { kv_cache_dtype: "f8" } }, /'kv_cache_dtype' must be f32 or f16/],
  [{ options: { speed: "most" } }, /no option 'speed'/],
]) {
  assert.equal(load(blob, settings), 0);
  assert.match(text(), sentence);
}
const halves = load(blob, { ...device, options: { kv_cache_dtype: "f16" } });
core.etwg_model_json(halves);
assert.deepEqual(json().states.map((state) => 2 * state.bytes), description.states.map((state) => state.bytes));
core.etwg_unload(halves);
assert.equal(load(blob.subarray(0, 100)), 0);
assert.match(text(), /does not fit into the blob of 100 bytes/);
const wrong = new Uint8Array(blob);
wrong.set(new TextEncoder().encode("VHxx"), 4);
assert.equal(load(wrong), 0);
assert.match(text(), /'VHxx', expected 'VH00'/);
assert.equal(core.etwg_program(give(file.subarray(0, 300)), 300), 0);
assert.match(text(), /truncated|malformed|does not fit/);
core.etwg_unload(model);

console.log(
  `wasm core: ${readFileSync(modulePath).byteLength} bytes, no imports; ${prefillPlan.dispatches.length} ` +
    `dispatches, ${packedBytes} packed bytes, all checks passed`,
);
