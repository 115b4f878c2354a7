/** A call by kernel: what is dispatched for it, and how long that takes. */
import { ModelError } from "./errors.ts";
import { type Binding, type Dispatch, sourcesOf } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { Input, Method } from "./method.ts";
import type { Replay } from "./replay.ts";
import type { Runner } from "./runner.ts";

export interface PlannedDispatch extends Dispatch {
  /** Keys of the weights that it reads, and how many bytes they are on the GPU. */
  weights: string[];
  weightBytes: number;
  /** Earlier dispatches whose results it reads. */
  after: number[];
}

export interface Profile {
  /** Of a whole call. */
  milliseconds: number;
  /** By kernel, the slowest first; `dispatches` are indices into the plan's. */
  kernels: { kernel: string; dispatches: number[]; milliseconds: number }[];
}

/** What a call of these inputs dispatches. */
export async function planOf(method: Method, inputs: readonly Input[]): Promise<PlannedDispatch[]> {
  const runner = runnerOf(method);
  return withReplay(runner, inputs, async ({ plan }) => {
    const { constants } = runner.model.describe();
    const written = new Written();
    return plan.dispatches.map((dispatch, i) => {
      const read = dispatch.bindings.filter(({ write }) => !write);
      const packed = read.flatMap(({ space, index }) => (space === "constant" ? [constants[index]] : []));
      const after = [...new Set(read.flatMap((binding) => written.by(binding)))];
      for (const binding of dispatch.bindings) if (binding.write) written.add(binding, i);
      return {
        ...dispatch,
        weights: packed.flatMap(({ parts }) => parts.flatMap(sourcesOf).map(({ key }) => key)),
        weightBytes: packed.reduce((sum, { bytes }) => sum + bytes, 0),
        after,
      };
    });
  });
}

// Lets `use` dispatch the plan of these inputs in its own way, which leaves the states undefined.
function withReplay<T>(
  runner: Runner,
  inputs: readonly Input[],
  use: (replay: Replay, scalars: Int32Array) => Promise<T>,
): Promise<T> {
  return runner.inTurn(async () => {
    const replay = await runner.ready(inputs);
    const scalars = runner.model.scalars().slice();
    runner.memory.writeScalars(scalars);
    return use(replay, scalars);
  });
}

/** Who wrote which bytes last. */
class Written {
  #ranges: (Binding & { dispatch: number })[] = [];

  by(binding: Binding): number[] {
    return this.#ranges.filter((range) => overlap(range, binding)).map(({ dispatch }) => dispatch);
  }
  add(binding: Binding, dispatch: number): void {
    this.#ranges = this.#ranges.filter((range) => !overlap(range, binding));
    this.#ranges.push({ ...binding, dispatch });
  }
}

const overlap = (a: Binding, b: Binding): boolean =>
  a.space === b.space && a.index === b.index && a.offset < b.offset + b.size && b.offset < a.offset + a.size;

/**
 * How long a call of these inputs takes the GPU, by kernel. All dispatches of a kernel are repeated until a clock
 * can time them, which every browser has. The contents of states (a KV cache) are undefined afterwards.
 */
export async function profile(method: Method, inputs: readonly Input[]): Promise<Profile> {
  const { gpu } = runnerOf(method);
  return withReplay(runnerOf(method), inputs, async (replay, scalars) => {
    const { dispatches: all } = replay.plan;
    const byKernel = new Map<string, number[]>();
    for (const [i, { kernel }] of all.entries()) byKernel.set(kernel, [...(byKernel.get(kernel) ?? []), i]);
    const time = (which: readonly number[]): Promise<number> => timeOf(gpu, replay, which, scalars);
    const milliseconds = await time([...all.keys()]);
    const kernels: Profile["kernels"] = [];
    for (const [kernel, dispatches] of byKernel)
      kernels.push({ kernel, dispatches, milliseconds: await time(dispatches) });
    return { milliseconds, kernels: kernels.sort((a, b) => b.milliseconds - a.milliseconds) };
  });
}

const WANTED_MILLISECONDS = 10;
const MOST_DISPATCHES = 1 << 14;
const TRIES = 2;

// Twice as many repetitions take longer by the time of these repetitions alone, without the way to the GPU and back.
async function timeOf(
  gpu: Gpu,
  replay: Replay,
  which: readonly number[],
  scalars: Int32Array,
): Promise<number> {
  // Of several tries the quickest was disturbed least.
  const best = async (repetitions: number): Promise<number> => {
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < TRIES; ++i)
      least = Math.min(least, await run(gpu, replay, which, scalars, repetitions));
    return least;
  };
  await run(gpu, replay, which, scalars, 1); // a driver may still compile
  for (let repetitions = 1; ; repetitions *= 2) {
    const taken = (await best(2 * repetitions)) - (await best(repetitions));
    const isLast = 4 * repetitions * which.length > MOST_DISPATCHES;
    if (taken >= WANTED_MILLISECONDS || isLast) return Math.max(taken, 0) / repetitions;
  }
}

async function run(
  gpu: Gpu,
  replay: Replay,
  which: readonly number[],
  scalars: Int32Array,
  repetitions: number,
): Promise<number> {
  let since = 0;
  const submitted = gpu.submit("repeated dispatches", (encoder) => {
    const pass = encoder.beginComputePass();
    let set: GPUComputePipeline | undefined;
    for (let r = 0; r < repetitions; ++r)
      for (const i of which) set = replay.encodeOne(pass, i, scalars, set);
    pass.end();
    since = performance.now();
  });
  await Promise.all([submitted, gpu.device.queue.onSubmittedWorkDone()]);
  return performance.now() - since;
}

function runnerOf(method: Method): Runner {
  const { runner } = method;
  if (runner === undefined)
    throw new ModelError(`method '${method.name}' is several delegates' calls, which are not profiled`);
  return runner;
}
