/** A method of a loaded program: the calls of its delegates, one after the other. */
import { ModelError } from "./errors.ts";
import type { DType, Match, ProgramMethod, ProgramValue } from "./forms.ts";
import type { Runner, WantedOutput } from "./runner.ts";
import { Tensor } from "./tensor.ts";

export interface UploadOptions {
  signal?: AbortSignal;
  onProgress?: (progress: { stage: "weights"; done: number; total: number }) => void;
}

/** A delegate that is planned for a device. */
export interface PlannedPart {
  /** Once. */
  upload(options: UploadOptions): Promise<Runner>;
  /** Of one that was not uploaded. */
  dispose(): void;
}

interface Part {
  runner: Runner;
  aliased: boolean;
}

/** A call's values by their numbers. */
export interface Values {
  get(id: number): Output | undefined;
  /** One that a delegate reads, which may be a buffer that nobody has written. */
  read(id: number): Output | undefined;
  set(id: number, value: Output): unknown;
}

/** Runs a delegate's call; its outputs stay on the GPU where `kept` says so. */
export type RunCall = (call: number, values: Values, kept: (id: number) => boolean) => Promise<void>;

/** Hears of a call's steps (profile.ts). */
export interface Watcher {
  /** Before a delegate is called. */
  delegate(runner: Runner, inputs: readonly Input[], wanted: readonly WantedOutput[]): Promise<void>;
  /** After a kernel on the CPU. */
  kernel(name: string, milliseconds: number): void;
}

/** What a method does where that is more than to call delegates (cpu/chain.ts). */
export interface Chain {
  execute(
    inputs: readonly Input[],
    run: RunCall,
    kept: (output: number) => boolean,
    watcher?: Watcher,
  ): Promise<Output[]>;
  dispose(): Promise<void>;
}
export interface PlannedChain {
  /** Reads constants. */
  upload(options: UploadOptions): Promise<Chain>;
}

export type Input = Tensor | number;
export type Output = Tensor | number | boolean | string | null;

export interface ExecuteOptions {
  /** Leave outputs on the GPU: all, or those with true. */
  keep?: boolean | readonly boolean[];
}

export class Method {
  readonly form: ProgramMethod;
  readonly #parts: Part[];
  #chain: Chain | undefined;
  #matches: (Match | undefined)[];

  private constructor(form: ProgramMethod, parts: Part[]) {
    this.form = form;
    this.#parts = parts;
    this.#matches = form.calls.map(() => undefined);
  }

  static async load(
    form: ProgramMethod,
    delegates: readonly PlannedPart[],
    options: UploadOptions,
    chain?: PlannedChain,
  ): Promise<Method> {
    const method = new Method(form, []);
    try {
      method.#chain = await chain?.upload(options);
      for (const [i, { aliased }] of form.delegates.entries())
        method.#parts.push({ runner: await delegates[i].upload(options), aliased });
      return method;
    } catch (error) {
      await method.dispose();
      throw error;
    }
  }

  get name(): string {
    return this.form.name;
  }
  /** Dtypes and sizes, upper bounds where dynamic, as the program has them. */
  get inputs(): readonly ProgramValue[] {
    return this.form.inputs;
  }
  get outputs(): readonly ProgramValue[] {
    return this.form.outputs;
  }
  get gpuBytes(): number {
    return this.#parts.reduce((sum, { runner }) => sum + runner.memory.bytes, 0);
  }
  /** The delegate's runner, where the method is one delegate's call. */
  get runner(): Runner | undefined {
    const isOneCall = this.#chain === undefined && this.#parts.length === 1 && this.form.calls.length === 1;
    return isOneCall ? this.#parts[0].runner : undefined;
  }

  /** Calls that have been made end first. */
  async dispose(): Promise<void> {
    await this.#chain?.dispose();
    await Promise.all(this.#parts.map(({ runner }) => runner.dispose()));
  }

  /** Inputs as `inputs` lists them, numbers for integers. */
  execute(inputs: readonly Input[], options: ExecuteOptions = {}): Promise<Output[]> {
    return this.watched(inputs, options);
  }

  async watched(inputs: readonly Input[], options: ExecuteOptions, watcher?: Watcher): Promise<Output[]> {
    const { form } = this;
    if (inputs.length !== form.inputs.length)
      throw new ModelError(
        `method '${form.name}' takes ${form.inputs.length} inputs, but ${inputs.length} were given`,
      );
    const isKept = (at: number): boolean =>
      typeof options.keep === "object" ? (options.keep[at] ?? false) : (options.keep ?? false);
    if (this.#chain !== undefined) {
      const run: RunCall = (call, values, kept) => this.#call(call, values, kept, watcher);
      return this.#chain.execute(inputs, run, isKept, watcher);
    }
    const values = new Map<number, Output>(form.inputs.map(({ id }, i) => [id, inputs[i]]));
    const access: Values = {
      get: (id) => values.get(id),
      read: (id) => values.get(id),
      set: (id, value) => values.set(id, value),
    };
    const own = new Set(inputs);
    const kept = (id: number): boolean => {
      const at = form.outputs.findIndex((output) => output.id === id);
      return at < 0 || isKept(at); // those that are no outputs feed another delegate
    };
    let out: Output[] = [];
    try {
      for (let c = 0; c < form.calls.length; ++c) await this.#call(c, access, kept, watcher);
      out = form.outputs.map(({ id, value }) => values.get(id) ?? value ?? null);
      return out;
    } finally {
      for (const value of values.values())
        if (value instanceof Tensor && !own.has(value) && !out.includes(value)) value.dispose();
    }
  }

  async #call(c: number, values: Values, kept: (id: number) => boolean, watcher?: Watcher): Promise<void> {
    const call = this.form.calls[c];
    const { runner, aliased } = this.#parts[call.delegate];
    let match = this.#matches[c];
    if (match === undefined) {
      match = runner.model.match(
        call.values.map((value) => passed(value, values.get(value.id))),
        aliased,
      );
      this.#matches[c] = match;
    }
    const inputs = match.inputs.map((candidates, i) => {
      const given = candidates.map((at) => values.read(call.values[at].id));
      if (given.some((other) => !isSame(given[0], other)))
        throw new ModelError(
          `input ${i} of the delegate may be one of several values of the program's call, which now differ: export the model without the input that nothing reads, or with executorch_webgpu.lower`,
        );
      const input = given[0];
      if (!(input instanceof Tensor) && typeof input !== "number")
        throw new ModelError(`input ${i} is missing`);
      return input;
    });
    const targets = call.values.slice(match.first_output);
    const wanted: WantedOutput[] = runner.model.form.outputs.map((_, output) => {
      const first = targets[match.outputs.indexOf(output)];
      return { dtype: first?.dtype as DType | undefined, keep: first !== undefined && kept(first.id) };
    });
    await watcher?.delegate(runner, inputs, wanted);
    const outputs = await runner.execute(inputs, wanted);
    for (const [i, { id }] of targets.entries()) values.set(id, outputs[match.outputs[i]]);
  }
}

function passed(
  value: ProgramValue,
  live: Output | undefined,
): { id: number; dtype?: string; sizes?: readonly number[] } {
  if (value.dtype === undefined) return { id: value.id };
  const tensor = live instanceof Tensor ? live : undefined;
  return { id: value.id, dtype: tensor?.dtype ?? value.dtype, sizes: tensor?.sizes ?? value.sizes! };
}

function isSame(a: Output | undefined, b: Output | undefined): boolean {
  if (a === b) return true;
  if (!(a instanceof Tensor && b instanceof Tensor) || a.onGpu !== undefined || b.onGpu !== undefined)
    return false;
  if (a.dtype !== b.dtype || String(a.sizes) !== String(b.sizes)) return false;
  const other = b.data;
  return a.data.every((value, i) => value === other[i]);
}
