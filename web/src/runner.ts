/** A delegate on a device: weights uploaded once, then one submit and one wait per call. */
import { elementCount, isFloating, isKnownStorage, load, storageBytes, toInt32 } from "./elements.ts";
import { errorText, ModelError } from "./errors.ts";
import type { ConstantForm, DType, PlanForm, PlannedTensor } from "./forms.ts";
import type { Gpu, NextEncoder } from "./gpu.ts";
import { ModelMemory } from "./memory.ts";
import type { LiveInput, PlannedModel } from "./planned_model.ts";
import { Replay } from "./replay.ts";
import type { SharedStates } from "./shared_states.ts";
import { Tensor } from "./tensor.ts";
import { type Place, sourceBytes, type UploadTarget, upload } from "./weights.ts";

const MOST_PLANS = 32; // as many as the core keeps

export interface LoadSteps {
  places: (constant: ConstantForm) => Place;
  shared?: SharedStates | undefined;
  signal?: AbortSignal | undefined;
  /** Hears how many bytes of the weights have been read. */
  onProgress?: ((progress: { stage: "weights"; done: number; total: number }) => void) | undefined;
}

/** An output of a call: what the caller wants it as. */
export interface WantedOutput {
  dtype: DType | undefined;
  keep: boolean;
}

/** Where outputs come on their way to the host. */
interface Landing {
  staging: GPUBuffer;
  bytes: number;
  outputs: { planned: PlannedTensor; at: number; bytes: number }[];
}

export class Runner {
  readonly model: PlannedModel;
  readonly gpu: Gpu;
  readonly memory: ModelMemory;
  readonly #plans = new Map<number, Replay>();
  readonly #places: LoadSteps["places"];
  readonly #live: LiveInput[];
  #last: Promise<unknown> = Promise.resolve();
  #staging: GPUBuffer | undefined;
  #disposed = false;

  private constructor(model: PlannedModel, gpu: Gpu, places: LoadSteps["places"]) {
    this.model = model;
    this.gpu = gpu;
    this.memory = new ModelMemory(gpu);
    this.#places = places;
    this.#live = model.form.inputs.map(() => ({ sizes: [], scalar: 0 }));
  }

  /** Uploads constants and first contents of states. Takes the model over. */
  static async create(model: PlannedModel, gpu: Gpu, steps: LoadSteps): Promise<Runner> {
    const runner = new Runner(model, gpu, steps.places);
    try {
      const states = await runner.memory.create(model.form, steps.shared);
      const targets = [...(await runner.#newConstants()), ...runner.#states(states)];
      const total = sourceBytes(model, targets, steps.places);
      let done = 0;
      const tell = (bytes: number): void => {
        done += bytes;
        steps.onProgress?.({ stage: "weights", done, total });
      };
      tell(0);
      await upload(gpu, model, targets, steps.places, tell, steps.signal);
      return runner;
    } catch (error) {
      await runner.dispose();
      throw error;
    }
  }

  /** Calls that have been made end first. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#last;
    for (const replay of this.#plans.values()) replay.dispose();
    this.#staging?.destroy();
    this.memory.dispose();
    this.model.dispose();
  }

  async #newConstants(): Promise<UploadTarget[]> {
    const { constants } = this.model.describe();
    const first = await this.memory.addConstants(constants);
    return constants.slice(first).map((form, i) => ({
      state: false,
      index: first + i,
      form,
      ...this.memory.at("constant", first + i),
    }));
  }
  #states(indices: readonly number[]): UploadTarget[] {
    return indices.map((index) => ({
      state: true,
      index,
      form: this.model.form.states[index],
      ...this.memory.at("state", index),
    }));
  }

  /** Compiles what a call of these inputs needs. */
  async prepare(
    inputs: readonly (Tensor | number)[],
    kernels?: (done: number, of: number) => void,
  ): Promise<void> {
    await this.inTurn(() => this.ready(inputs, [], kernels));
  }

  /** Calls take turns. */
  execute(
    inputs: readonly (Tensor | number)[],
    wanted: readonly WantedOutput[],
  ): Promise<(Tensor | number)[]> {
    return this.inTurn(() => this.#execute(inputs, wanted));
  }

  /** Waits for the calls before; those after wait for this one. */
  async inTurn<T>(call: () => Promise<T>): Promise<T> {
    if (this.#disposed) throw new ModelError("the program has been disposed of");
    const turn = this.#last.then(call);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** In a turn: the plan for these inputs with all that it needs. */
  async ready(
    inputs: readonly (Tensor | number)[],
    wanted: readonly WantedOutput[] = [],
    kernels?: (done: number, of: number) => void,
  ): Promise<Replay> {
    this.gpu.check();
    await this.#read(inputs);
    const number = this.model.prepare(this.#live, isWide(inputs) || isWide(wanted));
    let replay = this.#plans.get(number);
    if (replay === undefined) replay = await this.#newReplay();
    // The latest are last.
    this.#plans.delete(number);
    this.#plans.set(number, replay);
    if (this.#plans.size > MOST_PLANS) this.#forgetOldest();
    await this.memory.fitSlots(replay.plan.slots);
    let done = 0;
    const of = replay.plan.dispatches.length;
    await replay.compile(this.model, () => kernels?.(++done, of));
    replay.bind(this.memory);
    return replay;
  }

  async #newReplay(): Promise<Replay> {
    const replay = await Replay.create(this.gpu, this.model);
    try {
      checkForms(replay.plan);
      const targets = await this.#newConstants();
      await upload(this.gpu, this.model, targets, this.#places);
      return replay;
    } catch (error) {
      replay.dispose();
      throw error;
    }
  }

  #forgetOldest(): void {
    const [number, replay] = this.#plans.entries().next().value!;
    this.#plans.delete(number);
    replay.dispose();
  }

  async #read(inputs: readonly (Tensor | number)[]): Promise<void> {
    const edges = this.model.form.inputs;
    if (inputs.length !== edges.length)
      throw new ModelError(`the model takes ${edges.length} inputs and was given ${inputs.length}`);
    for (let i = 0; i < edges.length; ++i) {
      const input = inputs[i];
      const live = this.#live[i];
      const type = edges[i].host_type;
      if (type === undefined) {
        live.scalar = input instanceof Tensor ? await oneInteger(i, input) : checkScalar(i, input);
      } else if (input instanceof Tensor) {
        checkType(i, input.dtype, type);
        live.sizes = input.sizes;
        if (edges[i].wants_host_data && !isFloating(input.dtype))
          live.elements = toInt32(`input ${i}`, await input.read());
      } else {
        throw new ModelError(`input ${i} must be a tensor of ${type}, not ${input}`);
      }
    }
  }

  async #execute(
    inputs: readonly (Tensor | number)[],
    wanted: readonly WantedOutput[],
  ): Promise<(Tensor | number)[]> {
    const replay = await this.ready(inputs, wanted);
    const { plan } = replay;
    const taken: (Tensor | number)[] = new Array(this.model.form.outputs.length);
    try {
      const landing = await this.#makeRoom(plan, wanted, taken);
      const submitted = this.gpu.submit("a call", (encoder, next) => {
        for (const planned of plan.inputs) this.writeInput(planned, inputs[planned.position], encoder);
        const last = this.encode(replay, encoder, next);
        this.#copyOutputs(plan, taken, landing, last);
      });
      await this.#land(landing, submitted, wanted, taken);
    } catch (error) {
      for (const output of taken) if (output instanceof Tensor) output.dispose();
      throw error;
    }
    this.#takeScalars(taken);
    return taken;
  }

  /** In a turn, after ready(): live scalars, and as Replay.encode. Inputs are the caller's to write. */
  encode(replay: Replay, encoder: GPUCommandEncoder, next?: NextEncoder): GPUCommandEncoder {
    const scalars = this.model.scalars();
    this.memory.writeScalars(scalars);
    return replay.encode(encoder, scalars, next);
  }

  /** Nothing to do for one that no dispatch reads. */
  writeInput(planned: PlannedTensor, input: Tensor | number, encoder: GPUCommandEncoder): void {
    if (!planned.on_device || !(input instanceof Tensor)) return;
    const { buffer, offset } = this.memory.at(planned.space, planned.index);
    const bytes = storageBytes(planned.storage, elementCount(planned.sizes));
    if (bytes === 0) return;
    const kept = input.onGpu;
    if (kept === undefined) {
      this.gpu.device.queue.writeBuffer(
        buffer,
        offset,
        input.stored(`input ${planned.position}`, planned.storage),
      );
    } else if (kept.storage === planned.storage && kept.gpu === this.gpu) {
      encoder.copyBufferToBuffer(kept.buffer, 0, buffer, offset, bytes);
    } else {
      throw new ModelError(
        `input ${planned.position} is kept on the GPU as ${kept.storage}, but is wanted as ${planned.storage}: read() it`,
      );
    }
  }

  // A buffer for each output that is kept, which is `taken` then, and one for the rest.
  async #makeRoom(
    plan: PlanForm,
    wanted: readonly WantedOutput[],
    taken: (Tensor | number)[],
  ): Promise<Landing> {
    const outputs: Landing["outputs"] = [];
    let end = 0;
    for (const planned of plan.outputs) {
      const { position, storage, sizes } = planned;
      const bytes = storageBytes(storage, elementCount(sizes));
      const want = wanted[position];
      if (want?.keep) {
        const buffer = await this.gpu.buffer("a kept output", Math.max(bytes, 16), 0x80 | 0x8 | 0x4);
        taken[position] = Tensor.kept(want.dtype ?? hostType(planned), sizes, {
          gpu: this.gpu,
          buffer,
          storage,
        });
      } else {
        outputs.push({ planned, at: end, bytes });
        end += Math.ceil(bytes / 16) * 16;
      }
    }
    return { outputs, bytes: Math.max(end, 16), staging: await this.#stage(end) };
  }

  #copyOutputs(
    plan: PlanForm,
    taken: readonly (Tensor | number)[],
    landing: Landing,
    encoder: GPUCommandEncoder,
  ): void {
    const copy = ({ space, index }: PlannedTensor, to: GPUBuffer, at: number, bytes: number): void => {
      const { buffer, offset } = this.memory.at(space, index);
      if (bytes > 0) encoder.copyBufferToBuffer(buffer, offset, to, at, bytes);
    };
    for (const planned of plan.outputs) {
      const kept = taken[planned.position];
      if (!(kept instanceof Tensor)) continue;
      copy(planned, kept.onGpu!.buffer, 0, storageBytes(planned.storage, elementCount(planned.sizes)));
    }
    for (const { planned, at, bytes } of landing.outputs) copy(planned, landing.staging, at, bytes);
  }

  // Waits for the call, and takes what comes to the host.
  async #land(
    { outputs, bytes: staged, staging }: Landing,
    submitted: Promise<void>,
    wanted: readonly WantedOutput[],
    taken: (Tensor | number)[],
  ): Promise<void> {
    if (outputs.length === 0) return submitted;
    const [call, map] = await Promise.allSettled([submitted, this.#map(staging, staged)]);
    try {
      for (const { status, reason } of [call, map] as PromiseRejectedResult[])
        if (status === "rejected") throw reason;
      for (const { planned, at, bytes } of outputs) {
        const dtype = wanted[planned.position]?.dtype ?? hostType(planned);
        const view = new Uint8Array(staging.getMappedRange(at, bytes));
        const data = load(view, elementCount(planned.sizes), planned.storage, dtype);
        taken[planned.position] = Tensor.of(data, planned.sizes, dtype);
      }
    } finally {
      staging.unmap();
    }
  }

  async #map(staging: GPUBuffer, bytes: number): Promise<void> {
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, bytes);
    } catch (error) {
      this.gpu.check();
      throw new ModelError(`the outputs could not be read: ${errorText(error)}`, { cause: error });
    }
  }

  // SymInts among the outputs.
  #takeScalars(taken: (Tensor | number)[]): void {
    this.model.form.outputs.forEach(({ type, value }, i) => {
      if (type !== undefined) return;
      taken[i] = this.model.scalarOf(value);
    });
  }

  async #stage(bytes: number): Promise<GPUBuffer> {
    if (this.#staging === undefined || this.#staging.size < bytes) {
      this.#staging?.destroy();
      this.#staging = undefined; // also where there is no memory for another
      this.#staging = await this.gpu.buffer(
        "staging for outputs",
        Math.max(bytes, 16),
        GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      );
    }
    return this.#staging;
  }
}

function checkForms(plan: PlanForm): void {
  for (const { storage } of [...plan.inputs, ...plan.outputs])
    if (!isKnownStorage(storage))
      throw new ModelError(`the planner stores a tensor as '${storage}', which this executor does not know`);
}

// Integers of 64 bits are recorded as int32: the call's tensors say which are meant.
const isWide = (values: readonly (Tensor | number | WantedOutput)[]): boolean =>
  values.some((value) => typeof value !== "number" && value.dtype === "int64");
const hostType = ({ storage, type }: PlannedTensor): DType => (storage === "i64" ? "int64" : type);

function checkScalar(i: number, value: number): number {
  if (!Number.isInteger(value) || value !== (value | 0))
    throw new ModelError(`input ${i} is ${value}, which is no int32`);
  return value;
}

async function oneInteger(i: number, tensor: Tensor): Promise<number> {
  if (isFloating(tensor.dtype) || elementCount(tensor.sizes) !== 1)
    throw new ModelError(
      `input ${i} must be one integer, not a ${tensor.dtype} tensor of sizes [${tensor.sizes}]`,
    );
  return toInt32(`input ${i}`, await tensor.read())[0];
}

// The same dtype, int64 for int32 and the reverse, or another floating width.
function checkType(i: number, given: DType, recorded: DType): void {
  const family = (dtype: DType): string =>
    dtype.startsWith("float") ? "float" : dtype === "int64" ? "int32" : dtype;
  if (family(given) !== family(recorded))
    throw new ModelError(`input ${i} is ${given}, but the model was exported with ${recorded}`);
}
