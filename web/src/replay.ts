/** A plan on the GPU: pipelines, bind groups and the loop that encodes its dispatches. */
import type { Binding, PlanForm } from "./forms.ts";
import type { Gpu, NextEncoder } from "./gpu.ts";
import type { ModelMemory } from "./memory.ts";
import type { PlannedModel } from "./planned_model.ts";

// Dispatches that are sent at once; each piece after it has twice as many.
const FIRST_PIECE = 32;

export class Replay {
  readonly plan: PlanForm;
  readonly #gpu: Gpu;
  readonly #signatures: string[];
  #pipelines: GPUComputePipeline[] = [];
  #groups: GPUBindGroup[] = [];
  #memory = -1; // the generation of memory that the groups were made for
  readonly #uniforms: GPUBuffer | undefined;
  // Of each dispatch: x, y, z, and of live grids the scalar's slot or -1, add, divide.
  readonly #grids: Int32Array;
  readonly #mostGroups: number;

  private constructor(gpu: Gpu, plan: PlanForm, uniforms: GPUBuffer | undefined) {
    this.#gpu = gpu;
    this.plan = plan;
    this.#uniforms = uniforms;
    this.#mostGroups = gpu.device.limits.maxComputeWorkgroupsPerDimension;
    this.#signatures = plan.dispatches.map(({ bindings }) => bindings.map(letter).join(""));
    this.#grids = Int32Array.from(
      plan.dispatches.flatMap(({ grid, live }) => [
        ...grid,
        live?.scalar ?? -1,
        live?.add ?? 0,
        live?.divide ?? 1,
      ]),
    );
  }

  /** Of the plan that `model` prepared last; pipelines come with compile(). */
  static async create(gpu: Gpu, model: PlannedModel): Promise<Replay> {
    const plan = model.plan();
    if (plan.uniform_bytes === 0) return new Replay(gpu, plan, undefined);
    const bytes = model.uniforms() as Uint8Array<ArrayBuffer>;
    const buffer = await gpu.buffer(
      "a plan's parameters",
      plan.uniform_bytes,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    );
    gpu.device.queue.writeBuffer(buffer, 0, bytes);
    return new Replay(gpu, plan, buffer);
  }

  /** All pipelines at once, in the background; `done` hears of each. */
  async compile(model: PlannedModel, done: () => void = () => {}): Promise<void> {
    if (this.#pipelines.length === this.plan.dispatches.length) return;
    const texts = new Map<number, string>();
    const wanted = this.plan.dispatches.map(async ({ kernel, kernel_index }, i) => {
      let text = texts.get(kernel_index);
      if (text === undefined) {
        text = model.kernel(kernel_index, this.#gpu.capabilities.dialect);
        texts.set(kernel_index, text);
      }
      const pipeline = await this.#gpu.pipeline(kernel, text, this.#signatures[i]);
      done();
      return pipeline;
    });
    this.#pipelines = await Promise.all(wanted);
  }

  /** Makes bind groups, unless they are there and the memory is the same. */
  bind(memory: ModelMemory): void {
    if (this.#memory === memory.generation) return;
    this.#groups = this.plan.dispatches.map(({ bindings }, i) =>
      this.#gpu.device.createBindGroup({
        layout: this.#gpu.layout(this.#signatures[i]),
        entries: bindings.map((binding, number) => ({
          binding: number,
          resource: this.#resource(binding, memory),
        })),
      }),
    );
    this.#memory = memory.generation;
  }

  #resource(binding: Binding, memory: ModelMemory): GPUBufferBinding {
    if (binding.space === "uniforms")
      return { buffer: this.#uniforms!, offset: binding.offset, size: binding.size };
    const { buffer, offset } = memory.at(binding.space, binding.index);
    return { buffer, offset: offset + binding.offset, size: binding.size };
  }

  /** All dispatches; given `next` in pieces, so that the GPU begins early. Returns the last encoder. */
  encode(encoder: GPUCommandEncoder, scalars: Int32Array, next?: NextEncoder): GPUCommandEncoder {
    const count = this.#groups.length;
    let piece = next === undefined ? count : FIRST_PIECE;
    for (let begin = 0; begin < count; piece *= 2) {
      const end = begin + 2 * piece > count ? count : begin + piece;
      const pass = encoder.beginComputePass();
      let set: GPUComputePipeline | undefined;
      for (; begin < end; ++begin) set = this.encodeOne(pass, begin, scalars, set);
      pass.end();
      if (end < count) encoder = next!();
    }
    return encoder;
  }

  /** One dispatch; `set` is the pipeline that the pass has, and the result the one that it has then. */
  encodeOne(
    pass: GPUComputePassEncoder,
    i: number,
    scalars: Int32Array,
    set?: GPUComputePipeline,
  ): GPUComputePipeline | undefined {
    const grids = this.#grids;
    const g = 6 * i;
    const x = grids[g];
    const y =
      grids[g + 3] < 0
        ? grids[g + 1]
        : Math.min(Math.ceil((scalars[grids[g + 3]] + grids[g + 4]) / grids[g + 5]), this.#mostGroups);
    const z = grids[g + 2];
    if (x === 0 || y <= 0 || z === 0) return set;
    const pipeline = this.#pipelines[i];
    if (pipeline !== set) pass.setPipeline(pipeline);
    pass.setBindGroup(0, this.#groups[i]);
    // What is passed to the engine costs time.
    if (y === 1 && z === 1) pass.dispatchWorkgroups(x);
    else pass.dispatchWorkgroups(x, y, z);
    return pipeline;
  }

  dispose(): void {
    this.#uniforms?.destroy();
  }
}

function letter({ space, write }: Binding): string {
  if (space === "uniforms" || space === "scalars") return "u";
  return write ? "w" : "r";
}
