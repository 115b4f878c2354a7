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

export type Input = Tensor | number;
export type Output = Tensor | number | boolean | string | null;

export interface ExecuteOptions {
  /** Leave outputs on the GPU: all, or those with true. */
  keep?: boolean | readonly boolean[];
}

export class Method {
  readonly form: ProgramMethod;
  readonly #parts: Part[];
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
  ): Promise<Method> {
    const method = new Method(form, []);
    try {
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
    return this.#parts.length === 1 && this.form.calls.length === 1 ? this.#parts[0].runner : undefined;
  }

  /** Calls that have been made end first. */
  async dispose(): Promise<void> {
    await Promise.all(this.#parts.map(({ runner }) => runner.dispose()));
  }

  /** Inputs as `inputs` lists them, numbers for integers. */
  async execute(inputs: readonly Input[], options: ExecuteOptions = {}): Promise<Output[]> {
    const { form } = this;
    if (inputs.length !== form.inputs.length)
      throw new ModelError(
        `method '${form.name}' takes ${form.inputs.length} inputs, but ${inputs.length} were given`,
      );
    const values = new Map<number, Output>(form.inputs.map(({ id }, i) => [id, inputs[i]]));
    const own = new Set(inputs);
    const kept = (id: number): boolean => {
      const at = form.outputs.findIndex((output) => output.id === id);
      if (at < 0) return true; // feeds another delegate
      return typeof options.keep === "object" ? (options.keep[at] ?? false) : (options.keep ?? false);
    };
    let out: Output[] = [];
    try {
      for (let c = 0; c < form.calls.length; ++c) await this.#call(c, values, kept);
      out = form.outputs.map(({ id, value }) => values.get(id) ?? value ?? null);
      return out;
    } finally {
      for (const value of values.values())
        if (value instanceof Tensor && !own.has(value) && !out.includes(value)) value.dispose();
    }
  }

  async #call(c: number, values: Map<number, Output>, kept: (id: number) => boolean): Promise<void> {
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
      const given = candidates.map((at) => values.get(call.values[at].id));
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
