/**
 * Decoding whose tokens stay on the GPU: the next step is encoded while the GPU works on the ones before, and
 * a step brings back one word.
 */
import type { Core } from "./core.ts";
import { elementCount } from "./elements.ts";
import { errorText, ModelError } from "./errors.ts";
import type { PlanForm, PlannedTensor } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { Runner } from "./runner.ts";
import { isGreedy, type SamplingOptions, samplingParams } from "./sampling.ts";
import { Tensor } from "./tensor.ts";

const ON_THE_WAY = 3; // steps sent whose tokens the host has not seen
const TOKEN_BYTES = 8; // as int64, for models that take it so
const CHOSEN_BYTES = 16; // and the token's place in the text

interface Chooser {
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
  key: string;
}

export interface Start {
  /** Tokens to feed, of which the last one's logits choose the first new token. */
  tokens: readonly number[];
  /** Where in the cache they go. */
  position: number;
  /** New tokens at most. */
  count: number;
  /** How tokens are chosen; the likeliest unless it is given. */
  sampling?: SamplingOptions;
  /** All tokens of the text so far, for a repetition penalty and repeatable choices. */
  text?: readonly number[];
}

/** What makes tokens of tokens: on the GPU (below), or with the host's help (cpu/generation.ts). */
export interface Generates {
  /** Calls `take` with each new token in order, which says whether to go on. */
  run(start: Start, take: (token: number) => boolean): Promise<void>;
  dispose(): void;
}

export class Generation implements Generates {
  readonly #core: Core;
  readonly #runner: Runner;
  readonly #gpu: Gpu;
  readonly #chosen: GPUBuffer;
  readonly #landings: GPUBuffer[];
  readonly #params: GPUBuffer;
  #seen: GPUBuffer | undefined; // a bit for each token
  #chooser: Chooser | undefined;

  private constructor(
    core: Core,
    runner: Runner,
    chosen: GPUBuffer,
    params: GPUBuffer,
    landings: GPUBuffer[],
  ) {
    this.#core = core;
    this.#runner = runner;
    this.#gpu = runner.gpu;
    this.#chosen = chosen;
    this.#params = params;
    this.#landings = landings;
  }

  /** For a delegate of tokens [1, S] and a position [1] whose first output is logits. */
  static async create(core: Core, runner: Runner): Promise<Generation> {
    const { inputs, outputs } = runner.model.form;
    const isInteger = (type: string | undefined): boolean => type === "int64" || type === "int32";
    const [tokens, position] = inputs;
    if (
      inputs.length !== 2 ||
      !isInteger(tokens.type) ||
      (position.type !== undefined && !isInteger(position.type)) ||
      !outputs[0]?.type?.startsWith("float")
    )
      throw new ModelError("only a program of tokens [1, S] and a position [1] with logits generates");
    const { gpu } = runner;
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    const chosen = await gpu.buffer("the chosen token", CHOSEN_BYTES, STORAGE | COPY_SRC | COPY_DST);
    const params = await gpu.buffer("sampling options", 32, UNIFORM | COPY_DST);
    const landings: GPUBuffer[] = [];
    for (let i = 0; i < ON_THE_WAY; ++i)
      landings.push(await gpu.buffer("staging for a token", 16, MAP_READ | COPY_DST));
    return new Generation(core, runner, chosen, params, landings);
  }

  dispose(): void {
    this.#chosen.destroy();
    this.#params.destroy();
    this.#seen?.destroy();
    for (const landing of this.#landings) landing.destroy();
  }

  /** Up to ON_THE_WAY more tokens than are taken may have been fed; they are overwritten by what is fed next. */
  run(start: Start, take: (token: number) => boolean): Promise<void> {
    return this.#runner.inTurn(() => this.#run(start, take));
  }

  async #run(start: Start, take: (token: number) => boolean): Promise<void> {
    const params = samplingParams(start.sampling ?? {});
    this.#gpu.device.queue.writeBuffer(this.#params, 0, params);
    const onTheWay: Promise<number>[] = [];
    let sent = 0;
    let wanted = start.count > 0;
    const send = async (most: number): Promise<void> => {
      while (wanted && sent < start.count && onTheWay.length < most)
        await this.#send(start, sent++, onTheWay);
    };
    try {
      while (wanted) {
        if (onTheWay.length === 0) await send(1);
        const next = onTheWay.shift();
        if (next === undefined) break;
        // Meanwhile: the first of these steps may have kernels to be compiled, for which no token has to wait.
        const others = send(ON_THE_WAY - 1);
        const taken = next.then((token) => {
          wanted = take(token);
        });
        await Promise.allSettled([taken, others]);
        await taken;
        await others;
      }
    } finally {
      await Promise.allSettled(onTheWay);
    }
  }

  // Adds the step's token, which comes once the GPU has chosen it.
  async #send(start: Start, step: number, onTheWay: Promise<number>[]): Promise<void> {
    const { tokens, position } = start;
    const at = step === 0 ? position : position + tokens.length + step - 1;
    const fed = step === 0 ? tokens : [0];
    const inputs = [this.#tokens(fed), this.#position(at)];
    const replay = await this.#runner.ready(inputs);
    await this.#bind(replay.plan, start.sampling ?? {});
    if (step === 0) this.#writeSeen(start.text ?? tokens, replay.plan);
    const landing = this.#landings[step % ON_THE_WAY];
    const submitted = this.#gpu.submit("a step", (encoder, next) => {
      for (const planned of replay.plan.inputs) {
        if (planned.position === 0 && step > 0) this.#feedChosen(replay.plan, encoder);
        else this.#runner.writeInput(planned, inputs[planned.position], encoder);
      }
      // A step after others is encoded while the GPU works on these.
      const last = this.#runner.encode(replay, encoder, step === 0 ? next : undefined);
      this.#encodeChoice(last);
      last.copyBufferToBuffer(this.#chosen, 0, landing, 0, 4);
    });
    submitted.catch(() => {}); // heard of below
    // Not before the landing is unmapped: the next answer uses it again.
    const token = this.#receive(landing).then((received) => submitted.then(() => received));
    token.catch(() => {}); // whoever waits for it hears of it
    onTheWay.push(token);
  }

  #tokens(tokens: readonly number[]): Tensor {
    const type = this.#runner.model.form.inputs[0].host_type!;
    return Tensor.of(tokens, [1, tokens.length], type);
  }
  #position(at: number): Tensor | number {
    const type = this.#runner.model.form.inputs[1].host_type;
    return type === undefined ? at : Tensor.of([at], [1], type);
  }

  #feedChosen(plan: PlanForm, encoder: GPUCommandEncoder): void {
    const planned = plan.inputs.find(({ position }) => position === 0)!;
    if (!planned.on_device) return;
    const { buffer, offset } = this.#runner.memory.at(planned.space, planned.index);
    encoder.copyBufferToBuffer(this.#chosen, 0, buffer, offset, planned.storage === "i64" ? TOKEN_BYTES : 4);
  }

  async #bind(plan: PlanForm, sampling: SamplingOptions): Promise<void> {
    const { planned, count, first } = logitsOf(plan);
    const isSampled = !isGreedy(sampling);
    if (isSampled) await this.#reserveSeen(count);
    const key = `${isSampled} ${planned.space} ${planned.index} ${first} ${count} ${this.#runner.memory.generation}`;
    if (this.#chooser?.key === key) return;
    const signature = isSampled ? "rwwu" : "rw";
    const text = this.#core.tokenKernel(isSampled, first, count, this.#gpu.capabilities);
    const pipeline = await this.#gpu.pipeline(isSampled ? "sample_token" : "greedy_token", text, signature);
    const { buffer, offset } = this.#runner.memory.at(planned.space, planned.index);
    const logits = { buffer, offset, size: 4 * (first + count) };
    const resources: GPUBufferBinding[] = isSampled
      ? [logits, { buffer: this.#seen! }, { buffer: this.#chosen }, { buffer: this.#params }]
      : [logits, { buffer: this.#chosen, size: TOKEN_BYTES }];
    const group = this.#gpu.device.createBindGroup({
      layout: this.#gpu.layout(signature),
      entries: resources.map((resource, binding) => ({ binding, resource })),
    });
    this.#chooser = { pipeline, group, key };
  }

  async #reserveSeen(tokens: number): Promise<void> {
    const bytes = 4 * Math.ceil(tokens / 32);
    if (this.#seen !== undefined && this.#seen.size >= bytes) return;
    this.#seen?.destroy();
    this.#seen = await this.#gpu.buffer(
      "tokens seen",
      bytes,
      GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    );
    this.#chooser = undefined;
  }

  #writeSeen(text: readonly number[], plan: PlanForm): void {
    const { queue } = this.#gpu.device;
    queue.writeBuffer(this.#chosen, 0, Uint32Array.of(0, 0, text.length, 0));
    if (this.#seen === undefined) return;
    const { count } = logitsOf(plan);
    const bits = new Uint32Array(this.#seen.size / 4);
    for (const token of text) if (token < count) bits[token >>> 5] |= 1 << (token & 31);
    queue.writeBuffer(this.#seen, 0, bits);
  }

  #encodeChoice(encoder: GPUCommandEncoder): void {
    const { pipeline, group } = this.#chooser!;
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
  }

  async #receive(landing: GPUBuffer): Promise<number> {
    try {
      await landing.mapAsync(GPUMapMode.READ, 0, 4);
    } catch (error) {
      this.#gpu.check();
      throw new ModelError(`a token could not be read: ${errorText(error)}`, {
        cause: error,
      });
    }
    const token = new Int32Array(landing.getMappedRange(0, 4))[0];
    landing.unmap();
    return token;
  }
}

function logitsOf(plan: PlanForm): { planned: PlannedTensor; count: number; first: number } {
  const planned = plan.outputs.find(({ position }) => position === 0);
  if (planned?.storage !== "f32" || elementCount(planned.sizes) === 0)
    throw new ModelError("the program's first output is not logits");
  const count = planned.sizes[planned.sizes.length - 1];
  return { planned, count, first: elementCount(planned.sizes) - count };
}
