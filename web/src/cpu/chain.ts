/**
 * A method's steps one after the other: calls of delegates on the GPU, and kernels that the partitioner left to
 * ExecuTorch, here on the CPU. Values come from the GPU where a kernel needs their elements, and stay there where
 * only delegates do.
 */
import { ARRAYS, dtypeBytes, elementCount, isFloating, type TypedArray } from "../elements.ts";
import { errorText, ModelError } from "../errors.ts";
import type { DType, HostForm, HostStep, HostValue, ProgramMethod } from "../forms.ts";
import type { Chain, Input, Output, RunCall, UploadOptions, Values, Watcher } from "../method.ts";
import { breathe } from "../tasks.ts";
import { Tensor } from "../tensor.ts";
import { type Place, readPlaces } from "../weights.ts";
import { allocated, checkFits, type Frame, KernelCall, type Recorded, type Value } from "./call.ts";
import { cast } from "./dtypes.ts";
import { KERNELS } from "./kernels.ts";
import { VIEWS } from "./movement.ts";

const MOST_STEPS = 1 << 20; // of a call; only a program that jumps back takes more than it has

const isKnown = (dtype: string | undefined): dtype is DType =>
  dtype !== undefined && Object.hasOwn(ARRAYS, dtype);

/** Why the page cannot run a method's steps, if it cannot. */
export function chainRefusals({ name, kernels, host }: ProgramMethod): string[] {
  if (host === undefined) return [];
  const out: string[] = [];
  const missing = kernels
    .map((kernel, index) => ({
      kernel,
      steps: places(host, (step) => step.do === "kernel" && step.index === index),
    }))
    .filter(({ kernel }) => !KERNELS.has(kernel));
  if (missing.length > 0)
    out.push(
      `method '${name}' leaves ${missing.map(({ kernel, steps }) => `${kernel} (${steps})`).join(", ")} to ` +
        "ExecuTorch's kernels, and this library has none for them: " +
        "export it with executorch_webgpu.lower, which says what stays outside and why",
    );
  const strange = host.values.findIndex(
    ({ dtype }, id) =>
      dtype !== undefined &&
      !isKnown(dtype) &&
      host.steps.some((step) => step.do === "kernel" && step.ids.includes(id)),
  );
  if (strange >= 0)
    out.push(
      `method '${name}' computes with ${host.values[strange].dtype} (value ${strange}) outside of delegates, which this library cannot: ` +
        "export it with executorch_webgpu.lower, or in another dtype",
    );
  const turned = host.contents.find(({ id }) => host.values[id].contiguous === false);
  if (turned !== undefined)
    out.push(
      `method '${name}' has a constant (value ${turned.id}) whose dimensions lie in another order: export it contiguous`,
    );
  return out;
}

/** Steps by number, the first few. */
function places({ steps }: HostForm, are: (step: HostStep) => boolean): string {
  const found = steps.flatMap((step, i) => (are(step) ? [i] : []));
  const named = found.slice(0, 4).join(", ");
  return `${found.length === 1 ? "step" : "steps"} ${named}${found.length > 4 ? ` and ${found.length - 4} more` : ""}`;
}

const number = (text: string): number =>
  text === "inf" ? Number.POSITIVE_INFINITY : text === "-inf" ? Number.NEGATIVE_INFINITY : Number(text);

/** What a value is before a call; tensors come later. */
function firstValue({ int, double, doubles, bools, ids, value }: HostValue): Value {
  if (int !== undefined) return BigInt(int);
  if (double !== undefined) return number(double);
  return doubles?.map(number) ?? bools ?? ids ?? value ?? null;
}

/** What the steps are once and for all. */
interface Plan {
  form: ProgramMethod;
  host: HostForm;
  planned: ReadonlySet<number>;
  /** Values whose elements kernels or the caller read. */
  read: ReadonlySet<number>;
  /** By step, those that no later one uses; none where a program jumps. */
  last: readonly (readonly number[])[];
}

export class CpuChain implements Chain {
  readonly #plan: Plan;
  readonly #constants: ReadonlyMap<number, Tensor>;
  /** Mutable buffers, as the last call left them. */
  #states: ReadonlyMap<number, Tensor>;
  #turn: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(plan: Plan, contents: ReadonlyMap<number, Tensor>) {
    this.#plan = plan;
    const isState = ([id]: [number, Tensor]): boolean => plan.planned.has(id);
    this.#constants = new Map([...contents].filter((entry) => !isState(entry)));
    this.#states = new Map([...contents].filter(isState));
  }

  /** `found` is where the contents that the host has are. */
  static async create(
    form: ProgramMethod,
    host: HostForm,
    found: readonly Place[],
    { signal, onProgress }: UploadOptions,
  ): Promise<CpuChain> {
    const total = found.reduce((sum, { size }) => sum + size, 0);
    if (total > 0) onProgress?.({ stage: "weights", done: 0, total });
    const bytes = await readPlaces(found, signal);
    if (total > 0) onProgress?.({ stage: "weights", done: total, total });
    const contents = host.contents.map(({ id }, i): [number, Tensor] => [
      id,
      tensorOf(host.values[id], id, bytes[i]),
    ]);
    const planned = new Set(host.planned);
    return new CpuChain(
      { form, host, planned, read: readValues(form, host), last: lastUses(form, host) },
      new Map(contents),
    );
  }

  /** Calls take turns. */
  execute(
    inputs: readonly Input[],
    run: RunCall,
    kept: (output: number) => boolean,
    watcher?: Watcher,
  ): Promise<Output[]> {
    const turn = this.#turn.then(async () => {
      if (this.#disposed) throw new ModelError("the program has been disposed of");
      const call = new Call(this.#plan, this.#constants, this.#states, watcher);
      try {
        call.begin(inputs);
        await call.steps(run, kept);
        const { outputs, states } = await call.end(kept);
        this.#states = states;
        return outputs;
      } catch (error) {
        call.release(this.#states.values());
        throw error;
      }
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async dispose(): Promise<void> {
    await this.#turn;
    this.#disposed = true;
    for (const state of this.#states.values()) state.dispose();
    this.#states = new Map();
  }
}

function tensorOf({ dtype, sizes = [] }: HostValue, id: number, bytes: Uint8Array): Tensor {
  if (!isKnown(dtype)) throw new ModelError(`value ${id} is ${dtype}, which this library does not know`);
  const needed = elementCount(sizes) * dtypeBytes(dtype);
  if (bytes.byteLength < needed)
    throw new ModelError(`value ${id} has ${bytes.byteLength} bytes, but takes ${needed}`);
  // Of its own, and where arrays of its dtype may begin.
  return Tensor.of(new ARRAYS[dtype](bytes.slice(0, needed).buffer as ArrayBuffer), sizes, dtype);
}

const itemsOf = ({ values }: HostForm, id: number): number[] => [
  id,
  ...(values[id].ids ?? []).filter((item) => item >= 0),
];

/** The values that a step has to do with. */
function usedBy({ calls }: ProgramMethod, host: HostForm, step: HostStep): number[] {
  const ids = step.do === "call" ? calls[step.index].values.map(({ id }) => id) : step.ids;
  return ids.flatMap((id) => itemsOf(host, id));
}

/** The argument whose elements a kernel gives under other sizes, if that is all it does. */
const viewed = (kernel: string): number | undefined =>
  kernel === "aten::copy_" || kernel === "aten::copy.out" ? 1 : Object.hasOwn(VIEWS, kernel) ? 0 : undefined;

/** Values whose elements are needed on the host: also those behind a view of which that holds. */
function readValues(form: ProgramMethod, host: HostForm): Set<number> {
  const read = new Set(form.outputs.map(({ id }) => id));
  for (let before = -1; before < read.size; ) {
    before = read.size;
    for (const step of host.steps.toReversed()) {
      const source =
        step.do === "kernel" ? viewed(form.kernels[step.index]) : step.do === "move" ? 0 : undefined;
      if (source !== undefined) {
        const [from, to] = [step.ids.at(source), step.ids.at(-1)];
        if (from !== undefined && to !== undefined && read.has(to)) read.add(from);
      } else if (step.do === "kernel" || step.do === "jump") {
        for (const id of usedBy(form, host, step)) read.add(id);
      }
    }
  }
  return read;
}

function lastUses(form: ProgramMethod, host: HostForm): number[][] {
  const out: number[][] = host.steps.map(() => []);
  if (host.steps.some((step) => step.do === "jump")) return out;
  const last = new Map<number, number>();
  for (const [i, step] of host.steps.entries()) for (const id of usedBy(form, host, step)) last.set(id, i);
  for (const { id } of [...form.inputs, ...form.outputs]) last.delete(id);
  for (const [id, i] of last) if (host.values[id].dtype !== undefined) out[i].push(id);
  return out;
}

/** One call of the method. */
class Call implements Frame {
  readonly #plan: Plan;
  readonly #constants: ReadonlyMap<number, Tensor>;
  readonly #states: ReadonlyMap<number, Tensor>; // before the call
  readonly #watcher: Watcher | undefined;
  readonly #values: (Value | undefined)[];
  /** Mutable buffers: what is read before it is written. */
  readonly #stateIds: Set<number>;
  /** Elements of tensors on the GPU that a kernel needed. */
  readonly #fetched = new Map<Tensor, Tensor>();
  /** Buffers that this call made. */
  readonly #made = new Map<GPUBuffer, Tensor>();
  readonly #given = new Set<TypedArray>();

  constructor(
    plan: Plan,
    constants: ReadonlyMap<number, Tensor>,
    states: ReadonlyMap<number, Tensor>,
    watcher?: Watcher,
  ) {
    this.#plan = plan;
    this.#watcher = watcher;
    this.#constants = constants;
    this.#states = states;
    this.#stateIds = new Set(states.keys());
    this.#values = plan.host.values.map((value, id) =>
      value.dtype === undefined ? firstValue(value) : (constants.get(id) ?? states.get(id)),
    );
  }

  begin(inputs: readonly Input[]): void {
    this.#plan.form.inputs.forEach(({ id }, i) => {
      try {
        this.#values[id] = this.#input(id, inputs[i]);
      } catch (error) {
        throw new ModelError(`method '${this.#plan.form.name}', input ${i}: ${errorText(error)}`, {
          cause: error,
        });
      }
    });
  }

  #input(id: number, input: Input): Value {
    const recorded = this.#plan.host.values[id];
    if (recorded.dtype !== undefined) {
      if (!(input instanceof Tensor))
        throw new ModelError(`it must be a tensor of ${recorded.dtype}, not ${input}`);
      const bound = this.recorded(id);
      checkFits("it", bound, input.sizes);
      const isOne = input.dtype === bound.dtype;
      if (
        !isOne &&
        (isFloating(input.dtype) !== isFloating(bound.dtype) || [input.dtype, bound.dtype].includes("bool"))
      )
        throw new ModelError(`it is ${input.dtype}, but the program takes ${bound.dtype}`);
      if (input.onGpu !== undefined && isOne) return input;
      this.#given.add(input.data);
      return isOne ? input : Tensor.of(cast(input.data, input.dtype, bound.dtype), input.sizes, bound.dtype);
    }
    const first = firstValue(recorded);
    if (input instanceof Tensor) throw new ModelError("it must be a number, not a tensor");
    if (typeof first !== "bigint") return typeof first === "boolean" ? Boolean(input) : input;
    if (!Number.isSafeInteger(input)) throw new ModelError(`it must be an integer, not ${input}`);
    return BigInt(input);
  }

  async steps(run: RunCall, kept: (output: number) => boolean): Promise<void> {
    const { form, host, last } = this.#plan;
    let taken = 0;
    for (let at = 0; at < host.steps.length; ) {
      const step = host.steps[at];
      try {
        if (++taken > MOST_STEPS) throw new ModelError(`there is no end after ${MOST_STEPS} steps`);
        const next = await this.#step(step, run, kept);
        for (const id of last[at]) this.#drop(id);
        at = next ?? at + 1;
      } catch (error) {
        // Delegates say what it is about, and so do errors of a kind.
        if (error instanceof ModelError && (step.do === "call" || error.constructor !== ModelError))
          throw error;
        const what = step.do === "kernel" ? form.kernels[step.index] : step.do;
        throw new ModelError(`method '${form.name}', step ${at}, ${what}: ${errorText(error)}`, {
          cause: error,
        });
      }
      await breathe();
    }
  }

  /** Gives the next step where it is not the following one. */
  async #step(step: HostStep, run: RunCall, kept: (output: number) => boolean): Promise<number | undefined> {
    switch (step.do) {
      case "kernel":
        await this.#kernel(this.#plan.form.kernels[step.index], step.ids);
        break;
      case "call":
        await run(step.index, this.#access, (id) => this.#stays(id, kept));
        break;
      case "move":
        this.#values[step.ids[1]] = this.value(step.ids[0]);
        break;
      case "jump":
        await this.#fetch(step.ids);
        return isFalse(this.value(step.ids[0])) ? step.index : undefined;
      case "free":
        this.#drop(step.ids[0]);
    }
    return undefined;
  }

  async #kernel(name: string, ids: readonly number[]): Promise<void> {
    const began = performance.now();
    const call = new KernelCall(this, ids);
    if (!this.#view(name, call, ids)) {
      await this.#fetch(ids);
      KERNELS.get(name)!(call);
    }
    this.#watcher?.kernel(name, performance.now() - began);
  }

  /** Wherever the elements are, they stay there. */
  #view(name: string, call: KernelCall, ids: readonly number[]): boolean {
    const at = viewed(name);
    if (at === undefined) return false;
    const [source, out] = [call.tensor(at), ids.at(-1) as number];
    const recorded = this.recorded(out);
    const target = at === 1 ? call.tensor(0).sizes : VIEWS[name](call, source.sizes);
    if (source.dtype !== recorded.dtype || (at === 1 && String(target) !== String(source.sizes)))
      return false;
    checkFits("its output", recorded, target);
    const place = this.#values[ids.at(at) as number];
    const kept = place instanceof Tensor ? place.onGpu : undefined;
    this.#values[out] =
      kept === undefined
        ? Tensor.of(source.data, target, source.dtype)
        : Tensor.kept(source.dtype, target, kept);
    return true;
  }

  // --- Values ---

  value(id: number): Value {
    const found = this.#values[id] ?? this.#state(id);
    return (found instanceof Tensor && this.#fetched.get(found)) || found;
  }
  recorded(id: number): Recorded {
    const { dtype, sizes = [], dynamic = false } = this.#plan.host.values[id];
    if (!isKnown(dtype)) throw new ModelError(`value ${id} is ${dtype === undefined ? "no tensor" : dtype}`);
    return { dtype, sizes, dynamic };
  }
  items(id: number): readonly number[] {
    const { ids } = this.#plan.host.values[id];
    if (ids === undefined) throw new ModelError(`value ${id} is no list`);
    return ids;
  }
  set(id: number, value: Value): void {
    this.#values[id] = value;
  }

  /** A buffer of the method's own that nobody has written: it begins as zeros. */
  #state(id: number): Value {
    if (this.#plan.host.values[id].dtype === undefined) return null;
    const { dtype, sizes } = this.recorded(id);
    if (!this.#plan.planned.has(id)) throw new ModelError(`value ${id} has not been computed`);
    const zeros = Tensor.of(allocated(sizes, dtype), sizes, dtype);
    this.#stateIds.add(id);
    this.#values[id] = zeros;
    return zeros;
  }

  async #fetch(ids: readonly number[]): Promise<void> {
    for (const id of ids.flatMap((one) => itemsOf(this.#plan.host, one))) {
      const value = this.#values[id];
      if (!(value instanceof Tensor) || value.onGpu === undefined || this.#fetched.has(value)) continue;
      this.#fetched.set(value, await onHost(value));
    }
  }

  /** As delegates have it. */
  readonly #access: Values = {
    get: (id) => plain(this.#values[id]),
    read: (id) => plain(this.#values[id] ?? this.#state(id)),
    set: (id, value) => this.#take(id, value),
  };
  /** What a delegate gave. */
  #take(id: number, value: Output): void {
    if (value instanceof Tensor && value.onGpu !== undefined) this.#made.set(value.onGpu.buffer, value);
    const isInteger = typeof value === "number" && this.#plan.host.values[id].int !== undefined;
    this.#values[id] = isInteger ? BigInt(value) : value;
  }
  // Integers may be wanted on the GPU in another form than they are left there in.
  #stays(id: number, kept: (output: number) => boolean): boolean {
    const output = this.#plan.form.outputs.findIndex((one) => one.id === id);
    if (output >= 0) return kept(output);
    return !this.#plan.read.has(id) && isFloating((this.#plan.host.values[id].dtype ?? "") as DType);
  }

  #drop(id: number): void {
    if (this.#stateIds.has(id) || this.#constants.has(id)) return;
    const value = this.#values[id];
    this.#values[id] = undefined;
    if (!(value instanceof Tensor)) return;
    this.#fetched.delete(value);
    const buffer = value.onGpu?.buffer;
    if (buffer === undefined || !this.#made.has(buffer)) return;
    if (this.#values.some((other) => other instanceof Tensor && other.onGpu?.buffer === buffer)) return;
    this.#made.delete(buffer);
    value.dispose();
  }

  // --- The end ---

  async end(kept: (output: number) => boolean): Promise<{ outputs: Output[]; states: Map<number, Tensor> }> {
    const states = new Map<number, Tensor>();
    for (const id of this.#stateIds) states.set(id, await this.#keptState(this.#values[id] as Tensor));
    // Callers may write to what they get, and dispose of it.
    const shared = new Set<unknown>(this.#given);
    for (const held of [...states.values(), ...this.#constants.values()])
      shared.add(held.onGpu?.buffer ?? held.data);
    const outputs: Output[] = [];
    for (const [i, { id, value }] of this.#plan.form.outputs.entries()) {
      const found = this.#values[id] ?? value ?? null;
      outputs.push(found instanceof Tensor ? await this.#output(found, kept(i), shared) : plain(found));
    }
    this.release([...states.values(), ...outputs]);
    return { outputs, states };
  }

  // What is not this call's, nor a state of the one before, may go or change.
  async #keptState(state: Tensor): Promise<Tensor> {
    const buffer = state.onGpu?.buffer;
    if (buffer === undefined)
      return this.#given.has(state.data) ? Tensor.of(state.data.slice(), state.sizes, state.dtype) : state;
    const before = [...this.#states.values()].some((old) => old.onGpu?.buffer === buffer);
    return this.#made.has(buffer) || before ? state : onHost(state);
  }

  async #output(tensor: Tensor, stays: boolean, shared: Set<unknown>): Promise<Tensor> {
    const buffer = tensor.onGpu?.buffer;
    if (buffer !== undefined && (!stays || shared.has(buffer) || !this.#made.has(buffer)))
      return onHost(tensor);
    const held = buffer ?? tensor.data;
    const own = shared.has(held) ? Tensor.of(tensor.data.slice(), tensor.sizes, tensor.dtype) : tensor;
    shared.add(held);
    return own;
  }

  /** Gives back the GPU's memory but for what these values have. */
  release(values: Iterable<Value>): void {
    const needed = new Set<GPUBuffer | undefined>();
    for (const value of values) if (value instanceof Tensor) needed.add(value.onGpu?.buffer);
    for (const held of [...this.#made.values(), ...this.#states.values()])
      if (held.onGpu !== undefined && !needed.has(held.onGpu.buffer)) held.dispose();
  }
}

const onHost = async (tensor: Tensor): Promise<Tensor> =>
  Tensor.of(await tensor.read(), tensor.sizes, tensor.dtype);

function plain(value: Value | undefined): Output {
  if (typeof value === "bigint") return Number(value);
  return value === undefined || Array.isArray(value) ? null : value;
}

/** As ExecuTorch has it: a tensor is false where any of its elements is. */
function isFalse(value: Value): boolean {
  if (value instanceof Tensor) return value.data.some((element: number | bigint) => !element);
  if (typeof value !== "boolean") throw new ModelError("its condition is no truth value");
  return !value;
}
