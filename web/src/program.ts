/**
 * Programs (.pte): their methods and how to call them.
 *
 *     const program = await Program.load("model.pte");
 *     const [logits] = await program.method("forward").execute([Tensor.of(image, [1, 3, 224, 224])]);
 */
import { type Core, FileKind, HEADER_BYTES } from "./core.ts";
import { ModelError } from "./errors.ts";
import type {
  DType,
  Match,
  ModelOptions,
  NamedData,
  ProgramForm,
  ProgramMethod,
  ProgramValue,
} from "./forms.ts";
import { Gpu, type GpuOptions } from "./gpu.ts";
import { Runner, type WantedOutput } from "./runner.ts";
import { type ByteSource, openSource, read, readHead, type Source } from "./source.ts";
import { Tensor } from "./tensor.ts";
import type { Place } from "./weights.ts";

export interface Progress {
  stage: "reading" | "weights" | "kernels";
  done: number;
  total: number;
}

export interface LoadOptions extends GpuOptions {
  core: Core;
  /** Tensor data files (.ptd) with weights outside the program. */
  data?: Source | Source[];
  gpu?: Gpu;
  options?: ModelOptions;
  /** Methods to load; all unless it is given. */
  methods?: string[];
  onProgress?: (progress: Progress) => void;
  /** Hears what a user may want to know; console.warn unless it is given. */
  onNotice?: (text: string) => void;
  signal?: AbortSignal;
}

const BACKEND = "VulkanBackend";
// Most heads fit, so that a program takes one request, or two.
const FIRST_BYTES = 1 << 16;

/** What is read of a program's files before any weight. */
export class ProgramFiles {
  readonly form: ProgramForm;
  readonly source: ByteSource;
  readonly #data = new Map<string, Place>();

  private constructor(source: ByteSource, form: ProgramForm) {
    this.source = source;
    this.form = form;
  }

  static async open(
    core: Core,
    from: Source,
    data: Source | Source[] | undefined,
    notice?: (text: string) => void,
    signal?: AbortSignal,
  ): Promise<ProgramFiles> {
    const source = await openSource(from, signal, notice);
    const head = await headOf(core, source, FileKind.program, signal);
    const files = new ProgramFiles(source, core.program(head, source.size));
    files.#add(source, files.form.named_data);
    for (const one of data === undefined ? [] : Array.isArray(data) ? data : [data]) {
      const file = await openSource(one, signal, notice);
      const directory = await headOf(core, file, FileKind.data, signal);
      files.#add(file, core.dataFile(directory, file.size).named_data);
    }
    return files;
  }

  #add(source: ByteSource, named: NamedData[]): void {
    for (const { key, offset, size } of named) {
      const known = this.#data.get(key);
      if (known !== undefined && known.size !== size)
        throw new ModelError(
          `${known.source.name} and ${source.name} hold different data under '${key}': they do not belong to the same program`,
        );
      if (known === undefined) this.#data.set(key, { source, offset, size });
    }
  }

  place(key: string): Place {
    const place = this.#data.get(key);
    if (place === undefined)
      throw new ModelError(`weight '${key}' is neither in ${this.source.name} nor in a data file`);
    return place;
  }
}

async function headOf(
  core: Core,
  source: ByteSource,
  kind: FileKind,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const first = await readHead(source, FIRST_BYTES, signal);
  const needed = core.headSize(kind, first.subarray(0, HEADER_BYTES), source.size);
  return needed <= first.byteLength
    ? first.subarray(0, Math.max(needed, HEADER_BYTES))
    : readHead(source, needed, signal);
}

export class Program {
  readonly core: Core;
  readonly gpu: Gpu;
  /** By name: those that run, and constants such as get_max_seq_len as their values. */
  readonly methods: ReadonlyMap<string, Method>;
  readonly constants: ReadonlyMap<string, Constant | Constant[]>;
  /** On a new device, after this one was lost: what was in states is gone. Disposes of this program. */
  readonly reload: () => Promise<Program>;

  private constructor(
    gpu: Gpu,
    methods: Map<string, Method>,
    parts: Pick<Program, "core" | "constants" | "reload">,
  ) {
    this.gpu = gpu;
    this.methods = methods;
    this.core = parts.core;
    this.constants = parts.constants;
    this.reload = parts.reload;
  }

  static async load(from: Source, options: LoadOptions): Promise<Program> {
    const { core, onProgress, signal } = options;
    const files = await ProgramFiles.open(core, from, options.data, options.onNotice, signal);
    const forms = files.form.methods.filter((form) => !isConstant(form));
    const wanted = options.methods ?? forms.map(({ name }) => name);
    for (const name of wanted) checkMethod(forms, name);
    const gpu = options.gpu ?? (await Gpu.open(options));
    const methods = new Map<string, Method>();
    try {
      for (const form of forms)
        if (wanted.includes(form.name))
          methods.set(form.name, await Method.load(core, gpu, files, form, options));
      checkStates(methods);
    } catch (error) {
      for (const method of methods.values()) method.dispose();
      throw error;
    }
    onProgress?.({ stage: "kernels", done: 1, total: 1 });
    const program: Program = new Program(gpu, methods, {
      core,
      constants: constantsOf(files.form),
      reload: async () => {
        program.dispose();
        return Program.load(from, { ...options, gpu: await gpu.reopen() });
      },
    });
    return program;
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

  dispose(): void {
    for (const method of this.methods.values()) method.dispose();
  }
}

const isConstant = (form: ProgramMethod): boolean =>
  form.kernel_calls === 0 && form.calls.length === 0 && form.inputs.length === 0;

type Constant = number | boolean | string | null;

function constantsOf(form: ProgramForm): Map<string, Constant | Constant[]> {
  return new Map(
    form.methods.filter(isConstant).map(({ name, outputs }) => {
      const values = outputs.map(({ value }) => value ?? null);
      return [name, values.length === 1 ? values[0] : values];
    }),
  );
}

function checkMethod(forms: ProgramMethod[], name: string): void {
  const form = forms.find((one) => one.name === name);
  if (form === undefined)
    throw new ModelError(
      `the program has no method '${name}', but ${forms.map((one) => one.name).join(", ")}`,
    );
  if (form.kernels.length > 0)
    throw new ModelError(
      `method '${name}' leaves ${form.kernels.join(", ")} to ExecuTorch's kernels, which are not in the browser: ` +
        "export it with executorch_webgpu.lower, which says what stays outside and why",
    );
  const other = form.delegates.find(({ backend }) => backend !== BACKEND);
  if (other !== undefined)
    throw new ModelError(`method '${name}' has a delegate for ${other.backend}, not for ${BACKEND}`);
}

// The file does not say which states of two methods are one.
function checkStates(methods: Map<string, Method>): void {
  const keeping = [...methods.values()].filter((method) => method.keepsStates).map(({ name }) => `'${name}'`);
  if (keeping.length > 1)
    throw new ModelError(
      `methods ${keeping.join(" and ")} keep states, and may mean the same ones, which is not to be had in the browser yet: ` +
        "load one of them with the option 'methods'",
    );
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
    core: Core,
    gpu: Gpu,
    files: ProgramFiles,
    form: ProgramMethod,
    options: LoadOptions,
  ): Promise<Method> {
    const parts: Part[] = [];
    try {
      for (const { offset, size, aliased } of form.delegates)
        parts.push({ runner: await loadDelegate(core, gpu, files, offset, size, options), aliased });
      return new Method(form, parts);
    } catch (error) {
      for (const { runner } of parts) runner.dispose();
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
  /** Whether a call changes what the next ones see. */
  get keepsStates(): boolean {
    return this.#parts.some(({ runner }) => runner.model.form.states.length > 0);
  }
  /** The delegate's runner, where the method is one delegate's call. */
  get runner(): Runner | undefined {
    return this.#parts.length === 1 && this.form.calls.length === 1 ? this.#parts[0].runner : undefined;
  }

  dispose(): void {
    for (const { runner } of this.#parts) runner.dispose();
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
    for (let c = 0; c < form.calls.length; ++c) await this.#call(c, values, kept);
    const out = form.outputs.map(({ id, value }) => values.get(id) ?? value ?? null);
    for (const value of values.values())
      if (value instanceof Tensor && !own.has(value) && !out.includes(value)) value.dispose();
    return out;
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

function loadDelegate(
  core: Core,
  gpu: Gpu,
  files: ProgramFiles,
  offset: number,
  size: number,
  options: LoadOptions,
): Promise<Runner> {
  const blob = part(files.source, offset, size);
  return delegateRunner(core, gpu, blob, (key) => files.place(key), options);
}

/** A delegate's blob on a device; `named` finds constants that lie outside it. */
export async function delegateRunner(
  core: Core,
  gpu: Gpu,
  blob: ByteSource,
  named: (key: string) => Place,
  { signal, onProgress, options }: Pick<LoadOptions, "signal" | "onProgress" | "options"> = {},
): Promise<Runner> {
  const head = await headOf(core, blob, FileKind.delegate, signal);
  const delegate = core.delegate(head, blob.size);
  const place = (key: string, at: number, length: number): Place =>
    key === "" ? { source: blob, offset: delegate.form.constants_at + at, size: length } : named(key);
  const known = new Map<number, Uint8Array>();
  try {
    for (const [index, { key, offset: at, length, read: wanted }] of delegate.form.constants.entries()) {
      if (!wanted) continue;
      const { source, offset: from } = place(key, at, length);
      known.set(index, await read(source, from, length, signal));
    }
  } catch (error) {
    delegate.discard();
    throw error;
  }
  const model = delegate.load(gpu.capabilities, options ?? {}, known);
  let total = 0;
  let done = 0;
  const tell = (bytes: number): void => {
    done += bytes;
    onProgress?.({ stage: "weights", done, total });
  };
  return Runner.create(model, gpu, {
    places: ({ key, offset: at, length }) => place(key, at, length),
    signal,
    total: (bytes) => {
      total = bytes;
      tell(0);
    },
    read: tell,
  });
}

/** A part of a file as a file. */
function part(source: ByteSource, offset: number, size: number): ByteSource {
  return {
    name: source.name,
    size,
    version: source.version,
    stream: (at, length, signal) => {
      if (at + length > size)
        throw new ModelError(
          `${source.name}: bytes [${at}, ${at + length}) lie outside the delegate's ${size}`,
        );
      return source.stream(offset + at, length, signal);
    },
  };
}
