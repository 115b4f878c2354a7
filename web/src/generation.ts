/**
 * Decoding whose tokens stay on the GPU: the next step is encoded while the GPU works on the ones before, and
 * a step brings back one word.
 */
import type { Core } from "./core.ts";
import { elementCount } from "./elements.ts";
import { ModelError } from "./errors.ts";
import type { PlanForm } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { Runner } from "./runner.ts";
import { Tensor } from "./tensor.ts";

const ON_THE_WAY = 3; // steps sent whose tokens the host has not seen
const TOKEN_BYTES = 8; // as int64, for models that take it so

export interface Start {
  /** Tokens to feed, of which the last one's logits choose the first new token. */
  tokens: readonly number[];
  /** Where in the cache they go. */
  position: number;
  /** New tokens at most. */
  count: number;
}

export class Generation {
  readonly #core: Core;
  readonly #runner: Runner;
  readonly #gpu: Gpu;
  readonly #chosen: GPUBuffer;
  readonly #landings: GPUBuffer[];
  #chooser: { pipeline: GPUComputePipeline; group: GPUBindGroup; key: string } | undefined;

  private constructor(core: Core, runner: Runner, chosen: GPUBuffer, landings: GPUBuffer[]) {
    this.#core = core;
    this.#runner = runner;
    this.#gpu = runner.gpu;
    this.#chosen = chosen;
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
    const chosen = await runner.gpu.buffer(
      "the chosen token",
      16,
      GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
    );
    const landings: GPUBuffer[] = [];
    for (let i = 0; i < ON_THE_WAY; ++i)
      landings.push(
        await runner.gpu.buffer("staging for a token", 16, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
      );
    return new Generation(core, runner, chosen, landings);
  }

  dispose(): void {
    this.#chosen.destroy();
    for (const landing of this.#landings) landing.destroy();
  }

  /**
   * Calls `take` with each new token in order, which says whether to go on. Up to ON_THE_WAY more may then have been
   * fed; they are overwritten by what is fed next.
   */
  run(start: Start, take: (token: number) => boolean): Promise<void> {
    return this.#runner.inTurn(() => this.#run(start, take));
  }

  async #run(start: Start, take: (token: number) => boolean): Promise<void> {
    const onTheWay: Promise<number>[] = [];
    let sent = 0;
    let wanted = start.count > 0;
    try {
      while (wanted) {
        while (sent < start.count && onTheWay.length < ON_THE_WAY) await this.#send(start, sent++, onTheWay);
        const next = onTheWay.shift();
        if (next === undefined) break;
        wanted = take(await next);
      }
    } finally {
      await Promise.allSettled(onTheWay);
    }
  }

  // Adds the step's token, which comes once the GPU has chosen it.
  async #send({ tokens, position }: Start, step: number, onTheWay: Promise<number>[]): Promise<void> {
    const at = step === 0 ? position : position + tokens.length + step - 1;
    const fed = step === 0 ? tokens : [0];
    const inputs = [this.#tokens(fed), this.#position(at)];
    const replay = await this.#runner.ready(inputs);
    await this.#bind(replay.plan);
    const encoder = this.#gpu.device.createCommandEncoder();
    for (const planned of replay.plan.inputs) {
      if (planned.position === 0 && step > 0) this.#feedChosen(replay.plan, encoder);
      else this.#runner.writeInput(planned, inputs[planned.position], encoder);
    }
    this.#runner.encode(replay, encoder);
    this.#encodeChoice(encoder);
    const landing = this.#landings[step % ON_THE_WAY];
    encoder.copyBufferToBuffer(this.#chosen, 0, landing, 0, 4);
    this.#gpu.device.queue.submit([encoder.finish()]);
    const token = this.#receive(landing);
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

  async #bind(plan: PlanForm): Promise<void> {
    const logits = plan.outputs.find(({ position }) => position === 0);
    if (logits?.storage !== "f32" || elementCount(logits.sizes) === 0)
      throw new ModelError("the program's first output is not logits");
    const count = logits.sizes[logits.sizes.length - 1];
    const first = elementCount(logits.sizes) - count;
    const key = `${logits.space} ${logits.index} ${first} ${count} ${this.#runner.memory.generation}`;
    if (this.#chooser?.key === key) return;
    const { capabilities, device } = this.#gpu;
    const text = this.#core.tokenKernel(
      first,
      count,
      capabilities.max_workgroup_invocations,
      capabilities.dialect,
    );
    const pipeline = await this.#gpu.pipeline("greedy_token", text, "rw");
    const { buffer, offset } = this.#runner.memory.at(logits.space, logits.index);
    const group = device.createBindGroup({
      layout: this.#gpu.layout("rw"),
      entries: [
        { binding: 0, resource: { buffer, offset, size: 4 * (first + count) } },
        { binding: 1, resource: { buffer: this.#chosen, size: TOKEN_BYTES } },
      ],
    });
    this.#chooser = { pipeline, group, key };
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
      throw new ModelError(`a token could not be read: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
    const token = new Int32Array(landing.getMappedRange(0, 4))[0];
    landing.unmap();
    return token;
  }
}
