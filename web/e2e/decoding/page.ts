/** Decodes in a page what the native runtime decoded (native_run.py): decoding.spec.ts calls this. */
import { Core } from "../../src/core.ts";
import { Generation } from "../../src/generation.ts";
import { Gpu } from "../../src/gpu.ts";
import { type Method, Program, Tensor } from "../../src/index.ts";

export interface NativeRun {
  program: string;
  prompt: number[];
  tokens: number[];
  kept: number[];
}

export interface Compared {
  adapter: string;
  /** The likeliest tokens, each fed to the next step. */
  greedy: number[];
  /** The likeliest token of each step, all of which were fed the native run's tokens. */
  forced: number[];
  /** Of the kept steps' logits, the largest difference to the native run's. */
  differences: number[];
  /** Largest magnitude among the native run's. */
  largest: number;
}

const int64 = (values: number[], sizes: number[]): Tensor => Tensor.of(values, sizes, "int64");

async function lastLogits(method: Method, tokens: number[], position: number): Promise<Float32Array> {
  const inputs = [int64(tokens, [1, tokens.length]), int64([position], [1])];
  const [logits] = (await method.execute(inputs)) as [Tensor];
  const all = logits.data as Float32Array;
  return all.subarray(all.length - logits.sizes[logits.sizes.length - 1]);
}

const likeliest = (logits: Float32Array): number =>
  logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);

async function compare(
  wasm: string,
  program: string,
  run: NativeRun,
  logitsUrl: string,
  greedySteps: number,
): Promise<Compared> {
  const core = await Core.create(await fetch(wasm));
  const gpu = await Gpu.open();
  const loaded = await Program.load(program, { core, gpu, cache: false });
  const method = loaded.method("forward");
  const native = new Float32Array(await (await fetch(logitsUrl)).arrayBuffer());
  const count = native.length / run.kept.length;
  const out: Compared = { adapter: gpu.name, greedy: [], forced: [], differences: [], largest: 0 };

  const generation = await Generation.create(core, method.runner!);
  await generation.run({ tokens: run.prompt, position: 0, count: greedySteps }, (token) => {
    out.greedy.push(token);
    return true;
  });
  generation.dispose();

  let logits = await lastLogits(method, run.prompt, 0);
  for (const [step, token] of run.tokens.entries()) {
    out.forced.push(likeliest(logits));
    const at = run.kept.indexOf(step);
    if (at >= 0) {
      const expected = native.subarray(at * count, (at + 1) * count);
      const differs = (most: number, value: number, i: number): number =>
        Math.max(most, Math.abs(value - expected[i]));
      out.differences.push(logits.length === count ? logits.reduce(differs, 0) : Number.NaN);
      out.largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), out.largest);
    }
    logits = await lastLogits(method, [token], run.prompt.length + step);
  }
  await loaded.dispose();
  gpu.device.destroy();
  return out;
}

declare global {
  interface Window {
    compare: typeof compare;
  }
}
window.compare = compare;
