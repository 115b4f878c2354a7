/**
 * Decode and prefill of a decoder without its weights (benchmarks/skeleton.py), in Node:
 *
 *     node bench/decode.ts etwebgpu.wasm SKELETON_FOLDER [--tokens 128] [--at 128] [--prompt 512] [--f16]
 *
 * The folder has the skeleton's blob and facts.json. Prints medians as JSON, and beside them what a bare loop
 * of as many dispatches costs to encode.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { create, globals } from "webgpu";
import { Core } from "../src/core.ts";
import { PlannedDelegate } from "../src/delegate.ts";
import { Generation } from "../src/generation.ts";
import { Gpu } from "../src/gpu.ts";
import { openLocal } from "../src/source.ts";
import { Tensor } from "../src/tensor.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "128" },
    at: { type: "string", default: "128" },
    prompt: { type: "string", default: "512" },
    f16: { type: "boolean", default: false },
  },
});
const [wasm, folder] = positionals;
Object.assign(globalThis, globals);
const entry = create(["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia"]);
const gpu = await Gpu.open({ entry });
const core = await Core.create(readFileSync(wasm));
const facts = JSON.parse(readFileSync(`${folder}/facts.json`, "utf8")) as {
  constants: Record<string, [string, number[]]>;
};

const WIDTHS: Record<string, number> = { UINT8: 1, INT8: 1, FLOAT16: 2, INT64: 8 };
const PATTERN = 4096;

// Norms of one, empty caches, nibbles and small scales, as the native benchmark has them.
function madeUp([dtype, sizes]: [string, number[]]): Uint8Array {
  const width = WIDTHS[dtype] ?? 4;
  const out = new Uint8Array(sizes.reduce((product, size) => product * size, width));
  if (sizes.length === 4) return out;
  const pattern = new Uint8Array(PATTERN * width);
  const floats = new Float32Array(pattern.buffer, 0, width === 4 ? PATTERN : 0);
  if (width === 4) for (let i = 0; i < PATTERN; ++i) floats[i] = sizes.length === 1 ? 1 : 0.01 * Math.sin(i);
  else
    for (let i = 0; i < pattern.length; ++i)
      pattern[i] = width === 2 ? (i % 2 === 0 ? i : 0x20) : (i * 37) % 100;
  for (let at = 0; at < out.length; at += pattern.length)
    out.set(pattern.subarray(0, Math.min(pattern.length, out.length - at)), at);
  return out;
}

const sources = new Map<string, ReturnType<typeof madeUp>>();
const named = (key: string) => {
  const constant = facts.constants[key];
  const kind = String(constant);
  if (!sources.has(kind)) sources.set(kind, madeUp(constant));
  return sources.get(kind)!;
};

const began = performance.now();
const blob = openLocal(new Uint8Array(readFileSync(`${folder}/blob`)));
const places = new Map(Object.keys(facts.constants).map((key) => [key, openLocal(named(key))]));
const planned = await PlannedDelegate.read(
  core,
  gpu,
  blob,
  (key) => ({ source: places.get(key)!, offset: 0, size: places.get(key)!.size }),
  {
    options: values.f16 ? { matmul_dtype: "f16" } : {},
  },
);
const runner = await planned.upload();
const loadMs = performance.now() - began;
const generation = await Generation.create(core, runner);

const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function decode(at: number, count: number): Promise<number> {
  let began = 0;
  let tokens = 0;
  let last = 0;
  await generation.run({ tokens: [1], position: at, count }, () => {
    last = performance.now();
    if (tokens++ === 0) began = last;
    return true;
  });
  return (last - began) / (tokens - 1);
}

async function prefill(count: number): Promise<number> {
  const began = performance.now();
  const tokens = Tensor.of(
    Array.from({ length: count }, (_, i) => i % 100),
    [1, count],
    "int64",
  );
  const position = runner.model.form.inputs[1].type === undefined ? 0 : Tensor.of([0], [1], "int64");
  await runner.execute(
    [tokens, position],
    runner.model.form.outputs.map(() => ({ dtype: undefined, keep: false })),
  );
  return performance.now() - began;
}

// As many dispatches of one kernel with two bindings: what the engine itself takes to encode them.
async function bareLoop(dispatches: number): Promise<number> {
  const usage = GPUBufferUsage.STORAGE;
  const [a, b] = [
    gpu.device.createBuffer({ size: 1024, usage }),
    gpu.device.createBuffer({ size: 1024, usage }),
  ];
  const code = `@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> b: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) { b[at.x] = a[at.x] + 1u; }`;
  const pipeline = await gpu.pipeline("bare", code, "rw");
  const group = (from: GPUBuffer, to: GPUBuffer) =>
    gpu.device.createBindGroup({
      layout: gpu.layout("rw"),
      entries: [from, to].map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
  const groups = [group(a, b), group(b, a)];
  const times: number[] = [];
  for (let i = 0; i < 50; ++i) {
    const began = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let d = 0; d < dispatches; ++d) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, groups[d % 2]);
      pass.dispatchWorkgroups(4);
    }
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    times.push(performance.now() - began);
    await gpu.device.queue.onSubmittedWorkDone();
  }
  return median(times);
}

async function encodeOnly(at: number): Promise<{ ms: number; dispatches: number }> {
  const position = runner.model.form.inputs[1].type === undefined ? at : Tensor.of([at], [1], "int64");
  const inputs = [Tensor.of([1], [1, 1], "int64"), position];
  const times: number[] = [];
  let dispatches = 0;
  for (let i = 0; i < 50; ++i) {
    const began = performance.now();
    const replay = await runner.ready(inputs);
    const encoder = gpu.device.createCommandEncoder();
    runner.encode(replay, encoder);
    gpu.device.queue.submit([encoder.finish()]);
    times.push(performance.now() - began);
    dispatches = replay.plan.dispatches.length;
    await gpu.device.queue.onSubmittedWorkDone();
  }
  return { ms: median(times), dispatches };
}

const at = Number(values.at);
const count = Number(values.tokens);
const prompt = Number(values.prompt);
// A GPU's clock takes seconds to rise from idle.
const WARM_MS = 1500;
for (const warm = performance.now(); performance.now() - warm < WARM_MS; ) await decode(at, 64);
const steps: number[] = [];
for (let i = 0; i < 5; ++i) steps.push(await decode(at, count));
await prefill(prompt);
await prefill(prompt);
const prompts: number[] = [];
for (let i = 0; i < 5; ++i) prompts.push(await prefill(prompt));
const encode = await encodeOnly(at);
console.log(
  JSON.stringify({
    adapter: gpu.name,
    skeleton: folder,
    load_ms: Math.round(loadMs),
    decode_at: at,
    decode_tokens_per_second: Math.round(1000 / median(steps)),
    prefill_tokens: prompt,
    prefill_tokens_per_second: Math.round((1000 * prompt) / median(prompts)),
    dispatches: encode.dispatches,
    step_encode_ms: encode.ms,
    bare_loop_ms: await bareLoop(encode.dispatches),
    wasm_heap_mb: Math.round(core.heapBytes / 2 ** 20),
  }),
);
process.exit(0);
