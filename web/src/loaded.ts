/** A program on a device: its methods by name, whether they are planned in the page or were compiled. */
import { ModelError } from "./errors.ts";
import type { ProgramMethod } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import { Method, type PlannedChain, type PlannedPart, type UploadOptions } from "./method.ts";
import type { Constants } from "./refusals.ts";
import type { StateBuffers } from "./shared_states.ts";

export interface Progress {
  stage: "reading" | "weights" | "kernels";
  done: number;
  total: number;
}

export interface Planner {
  /** Plans one of a method's delegates. */
  part(form: ProgramMethod, number: number): Promise<PlannedPart>;
  /** What a method does beside calling them. */
  chain?(form: ProgramMethod): PlannedChain | undefined;
}

export class LoadedProgram {
  readonly gpu: Gpu;
  /** Those such as get_max_seq_len, by name. */
  readonly constants: Constants;
  /** Of its methods together. */
  readonly states: StateBuffers = new Map();
  readonly #methods = new Map<string, Method>();
  readonly #ownsGpu: boolean;

  protected constructor(gpu: Gpu, ownsGpu: boolean, constants: Constants) {
    this.gpu = gpu;
    this.#ownsGpu = ownsGpu;
    this.constants = constants;
  }

  /** Those that run, by name. */
  get methods(): ReadonlyMap<string, Method> {
    return this.#methods;
  }

  /** All delegates are planned before the first weight is fetched. After an error nothing is left. */
  protected async load(
    forms: readonly ProgramMethod[],
    planner: () => Promise<Planner>,
    options: UploadOptions,
  ): Promise<void> {
    const planned = forms.map((form) => ({ form, delegates: [] as PlannedPart[] }));
    try {
      const plan = await planner();
      for (const { form, delegates } of planned)
        for (let i = 0; i < form.delegates.length; ++i) delegates.push(await plan.part(form, i));
      for (const { form, delegates } of planned)
        this.#methods.set(form.name, await Method.load(form, delegates, options, plan.chain?.(form)));
      options.signal?.throwIfAborted();
    } catch (error) {
      for (const { delegates } of planned) for (const delegate of delegates) delegate.dispose();
      await this.dispose();
      throw error;
    }
  }

  method(name: string): Method {
    const method = this.methods.get(name);
    if (method === undefined)
      throw new ModelError(
        `the program has no method '${name}', but ${[...this.methods.keys()].join(", ") || "none that runs"}`,
      );
    return method;
  }

  get gpuBytes(): number {
    return [...this.methods.values()].reduce((sum, method) => sum + method.gpuBytes, 0);
  }

  /** Calls that have been made end first. A device that was opened for the program goes with it. */
  async dispose(): Promise<void> {
    await Promise.all([...this.methods.values()].map((method) => method.dispose()));
    for (const { buffer } of this.states.values()) buffer.destroy();
    this.states.clear();
    if (this.#ownsGpu) this.gpu.dispose();
  }
}
