/** Decode and prefill of a decoder without its weights (benchmarks/skeleton.py), in any engine. */
import type { Core } from "../src/core.ts";
import { PlannedDelegate } from "../src/delegate.ts";
import { Generation } from "../src/generation.ts";
import type { Gpu } from "../src/gpu.ts";
import type { Runner } from "../src/runner.ts";
import { openLocal } from "../src/source.ts";
import { Tensor } from "../src/tensor.ts";

/** A skeleton's facts.json, as far as it is needed. */
export interface Facts {
  constants: Record<string, [string, number[]]>;
}

export interface DecodeOptions {
  /** Decoding `tokens` from position `at` on, and a prompt of so many. */
  tokens: number;
  at: number;
  prompt: number;
  f16: boolean;
}

/** Medians. */
export interface DecodeTimes {
  adapter: string;
  load_ms: number;
  decode_at: number;
  decode_tokens_per_second: number;
  prefill_tokens: number;
  prefill_tokens_per_second: number;
  dispatches: number;
  /** What the host takes to encode a step, and as many dispatches in a bare loop. */
  step_encode_ms: number;
  bare_loop_ms: number;
  wasm_heap_mb: number;
}

export async function measure(
  core: Core,
  gpu: Gpu,
  blob: Uint8Array,
  facts: Facts,
  { tokens, at, prompt, f16 }: DecodeOptions,
): Promise<DecodeTimes> {
  const began = performance.now();
  const runner = await load(core, gpu, blob, facts, f16);
  const loadMs = performance.now() - began;
  const generation = await Generation.create(core, runner);
  await warm(() => decode(generation, at, 64));
  const step = await medianOf(5, () => decode(generation, at, tokens));
  await warm(() => prefill(runner, prompt));
  const prompts = await medianOf(7, () => prefill(runner, prompt));
  const { ms, dispatches } = await encodeOnly(gpu, runner, at);
  const bare = await bareLoop(gpu, dispatches);
  generation.dispose();
  await runner.dispose();
  return {
    adapter: gpu.name,
    load_ms: Math.round(loadMs),
    decode_at: at,
    decode_tokens_per_second: Math.round(1000 / step),
    prefill_tokens: prompt,
    prefill_tokens_per_second: Math.round((1000 * prompt) / prompts),
    dispatches,
    step_encode_ms: ms,
    bare_loop_ms: bare,
    wasm_heap_mb: Math.round(core.heapBytes / 2 ** 20),
  };
}

const WARM_MS = 1500;
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

async function load(
  core: Core,
  gpu: Gpu,
  blob: Uint8Array,
  { constants }: Facts,
  f16: boolean,
): Promise<Runner> {
  const kinds = new Map<string, ReturnType<typeof openLocal>>();
  const named = (key: string) => {
    const kind = String(constants[key]);
    const source = kinds.get(kind) ?? openLocal(madeUp(constants[key]));
    kinds.set(kind, source);
    return { source, offset: 0, size: source.size };
  };
  const options = f16 ? ({ matmul_dtype: "f16" } as const) : {};
  return (
    await PlannedDelegate.read(core, gpu, openLocal(blob), named, { options, selfTest: false })
  ).upload();
}

export const median = (list: number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

export async function medianOf(times: number, measured: () => Promise<number>): Promise<number> {
  const found: number[] = [];
  for (let i = 0; i < times; ++i) found.push(await measured());
  return median(found);
}

// A GPU's clock takes seconds to rise from idle, and code is compiled while it runs.
async function warm(call: () => Promise<number>): Promise<void> {
  const began = performance.now();
  while (performance.now() - began < WARM_MS) await call();
}

// Milliseconds a token.
async function decode(generation: Generation, at: number, count: number): Promise<number> {
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

function inputsOf(runner: Runner, tokens: number[], at: number): (Tensor | number)[] {
  const position = runner.model.form.inputs[1].type === undefined ? at : Tensor.of([at], [1], "int64");
  return [Tensor.of(tokens, [1, tokens.length], "int64"), position];
}

async function prefill(runner: Runner, count: number): Promise<number> {
  const began = performance.now();
  const tokens = Array.from({ length: count }, (_, i) => i % 100);
  const wanted = runner.model.form.outputs.map(() => ({ dtype: undefined, keep: false }));
  await runner.execute(inputsOf(runner, tokens, 0), wanted);
  return performance.now() - began;
}

async function encodeOnly(gpu: Gpu, runner: Runner, at: number): Promise<{ ms: number; dispatches: number }> {
  const inputs = inputsOf(runner, [1], at);
  const ms = await medianOf(50, async () => {
    const began = performance.now();
    const replay = await runner.ready(inputs);
    const submitted = gpu.submit("a step", (encoder) => void runner.encode(replay, encoder));
    const taken = performance.now() - began;
    await Promise.all([submitted, gpu.device.queue.onSubmittedWorkDone()]);
    return taken;
  });
  return { ms, dispatches: (await runner.ready(inputs)).plan.dispatches.length };
}

// As many dispatches of one kernel with two bindings: what the engine itself takes to encode them.
async function bareLoop(gpu: Gpu, dispatches: number): Promise<number> {
  const { device } = gpu;
  const [a, b] = [0, 1].map(() => device.createBuffer({ size: 1024, usage: GPUBufferUsage.STORAGE }));
  const code = `@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> b: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) { b[at.x] = a[at.x] + 1u; }`;
  const pipeline = await gpu.pipeline("bare", code, "rw");
  const groups = [
    [a, b],
    [b, a],
  ].map((buffers) =>
    device.createBindGroup({
      layout: gpu.layout("rw"),
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    }),
  );
  return medianOf(50, async () => {
    const began = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let d = 0; d < dispatches; ++d) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, groups[d % 2]);
      pass.dispatchWorkgroups(4);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    const taken = performance.now() - began;
    await device.queue.onSubmittedWorkDone();
    return taken;
  });
}
