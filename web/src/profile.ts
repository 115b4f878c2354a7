/** A call by kernel: what is dispatched for it, and how long that takes. */
import { type Binding, type Dispatch, type PlanForm, sourcesOf } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { Input, Method, Watcher } from "./method.ts";
import type { Replay } from "./replay.ts";
import type { Runner, WantedOutput } from "./runner.ts";

export interface PlannedDispatch extends Dispatch {
  /** Keys of the weights that it reads, and how many bytes they are on the GPU. */
  weights: string[];
  weightBytes: number;
  /** Earlier dispatches whose results it reads. Of a delegate's call behind others, the first wait for the last before. */
  after: number[];
  /** One of ExecuTorch's kernels, which is no dispatch: it runs on the CPU when all before it is done. */
  onCpu?: true;
}

export interface Profile {
  /** Of a whole call. */
  milliseconds: number;
  /** By kernel, the slowest first; `dispatches` are indices into the plan's. */
  kernels: { kernel: string; dispatches: number[]; milliseconds: number }[];
}

const onCpu = (name: string): string => `${name} on the CPU`;

/** What a call of these inputs dispatches. Of more than one delegate's graph it is made on the way, and changes states. */
export async function planOf(method: Method, inputs: readonly Input[]): Promise<PlannedDispatch[]> {
  const out: PlannedDispatch[] = [];
  await watch(method, inputs, {
    delegate: (runner, given, wanted) =>
      withReplay(runner, given, wanted, async ({ plan }) => {
        out.push(...dispatchesOf(runner, plan, out.length));
      }),
    kernel: (name) => {
      const call = name.replace("::", ".");
      const step = {
        call,
        kernel: onCpu(name),
        kernel_index: -1,
        grid: [0, 0, 0] as [number, number, number],
      };
      out.push({
        ...step,
        bindings: [],
        weights: [],
        weightBytes: 0,
        after: before(out.length),
        onCpu: true,
      });
    },
  });
  return out;
}

const before = (index: number): number[] => (index > 0 ? [index - 1] : []);

/** Those of one delegate's call, the first of which is number `first` of all. */
function dispatchesOf(runner: Runner, plan: PlanForm, first: number): PlannedDispatch[] {
  const { constants } = runner.model.describe();
  const written = new Written();
  return plan.dispatches.map((dispatch, i) => {
    const read = dispatch.bindings.filter(({ write }) => !write);
    const packed = read.flatMap(({ space, index }) => (space === "constant" ? [constants[index]] : []));
    const after = [...new Set(read.flatMap((binding) => written.by(binding)))].map((n) => first + n);
    for (const binding of dispatch.bindings) if (binding.write) written.add(binding, i);
    return {
      ...dispatch,
      weights: packed.flatMap(({ parts }) => parts.flatMap(sourcesOf).map(({ key }) => key)),
      weightBytes: packed.reduce((sum, { bytes }) => sum + bytes, 0),
      after: after.length > 0 ? after : before(first),
    };
  });
}

/** One delegate's graph needs no call for its inputs to be known. */
async function watch(method: Method, inputs: readonly Input[], watcher: Watcher): Promise<void> {
  if (method.runner !== undefined) return watcher.delegate(method.runner, inputs, []);
  await method.watched(inputs, {}, watcher);
}

// Lets `use` dispatch the plan of these inputs in its own way, which leaves the states undefined.
function withReplay<T>(
  runner: Runner,
  inputs: readonly Input[],
  wanted: readonly WantedOutput[],
  use: (replay: Replay, scalars: Int32Array) => Promise<T>,
): Promise<T> {
  return runner.inTurn(async () => {
    const replay = await runner.ready(inputs, wanted);
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
 * How long a call of these inputs takes, by kernel: on the GPU, and where kernels are left to the CPU there. All
 * dispatches of a kernel are repeated until a clock can time them, which every browser has. The contents of states
 * (a KV cache) are undefined afterwards.
 */
export async function profile(method: Method, inputs: readonly Input[]): Promise<Profile> {
  const kernels = new Map<string, Profile["kernels"][number]>();
  let [whole, count] = [0, 0];
  const add = (kernel: string, dispatches: readonly number[], milliseconds: number): void => {
    const found = kernels.get(kernel) ?? { kernel, dispatches: [], milliseconds: 0 };
    found.dispatches.push(...dispatches.map((i) => count + i));
    found.milliseconds += milliseconds;
    kernels.set(kernel, found);
  };
  await watch(method, inputs, {
    delegate: (runner, given, wanted) =>
      withReplay(runner, given, wanted, async (replay, scalars) => {
        const { dispatches: all } = replay.plan;
        const byKernel = new Map<string, number[]>();
        for (const [i, { kernel }] of all.entries())
          byKernel.set(kernel, [...(byKernel.get(kernel) ?? []), i]);
        const time = (which: readonly number[]): Promise<number> =>
          timeOf(runner.gpu, replay, which, scalars);
        whole += await time([...all.keys()]);
        for (const [kernel, dispatches] of byKernel) add(kernel, dispatches, await time(dispatches));
        count += all.length;
      }),
    kernel: (name, milliseconds) => {
      whole += milliseconds;
      add(onCpu(name), [0], milliseconds);
      ++count;
    },
  });
  return {
    milliseconds: whole,
    kernels: [...kernels.values()].sort((a, b) => b.milliseconds - a.milliseconds),
  };
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
  if (which.length === 0) return 0;
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
