/**
 * The planner: a WebAssembly module without imports that turns a program's bytes into plans. It has neither
 * weights nor a GPU. src/wasm/exports.h says what each export does.
 */
import { ModelError } from "./errors.ts";
import type {
  Capabilities,
  DelegateForm,
  DType,
  Match,
  ModelForm,
  ModelOptions,
  NamedData,
  PlanForm,
  ProgramForm,
  TestFindings,
  TrialInput,
} from "./forms.ts";
import type { LiveInput, PackingWindow, PassedValue, PlannedModel } from "./planned_model.ts";
import type { SharedNumbers } from "./shared_states.ts";

interface Exports {
  memory: WebAssembly.Memory;
  _initialize(): void;
  etwg_alloc(size: number): number;
  etwg_free(at: number): void;
  etwg_result(): number;
  etwg_result_size(): number;
  etwg_head_size(kind: number, head: number, size: number, fileSize: number): number;
  etwg_program(head: number, size: number, fileSize: number): number;
  etwg_data_file(head: number, size: number, fileSize: number): number;
  etwg_delegate(head: number, size: number, blobSize: number): number;
  etwg_delegate_json(delegate: number): void;
  etwg_discard(delegate: number): void;
  etwg_shared_states(delegates: number, count: number, methods: number, size: number): number;
  etwg_load(delegate: number, device: number, size: number, constants: number, count: number): number;
  etwg_unload(model: number): void;
  etwg_model_json(model: number): void;
  etwg_bound_plan_json(model: number): void;
  etwg_match(model: number, values: number, size: number): number;
  etwg_prepare(model: number, inputs: number, count: number, wide: number): number;
  etwg_plan_json(): void;
  etwg_plan_uniforms(): void;
  etwg_kernel_count(model: number): number;
  etwg_kernel(model: number, index: number, dialect: number): number;
  etwg_token_kernel(
    sampled: number,
    first: number,
    count: number,
    invocations: number,
    dialect: number,
  ): number;
  etwg_scalars(model: number): number;
  etwg_windows(model: number, state: number, index: number, most: number): number;
  etwg_test(
    delegate: number,
    device: number,
    size: number,
    constants: number,
    count: number,
    verdicts: number,
    verdictsSize: number,
  ): number;
  etwg_end_test(test: number): void;
  etwg_next_trial(test: number): number;
  etwg_trial_inputs(test: number): void;
  etwg_trial_input(test: number, input: number): void;
  etwg_trial_constant(test: number, constant: number): number;
  etwg_trial_output(
    test: number,
    output: number,
    dtype: number,
    dtypeSize: number,
    data: number,
    size: number,
  ): number;
  etwg_trial_ended(test: number, how: number, why: number, size: number): number;
  etwg_test_json(test: number, where: number, size: number): void;
  etwg_pack(
    model: number,
    state: number,
    index: number,
    most: number,
    window: number,
    sources: number,
    sourcesSize: number,
    out: number,
    size: number,
  ): number;
}

/** Kinds of file, as etwg_head_size numbers them. */
export const FileKind = { program: 0, data: 1, delegate: 2 } as const;
export type FileKind = (typeof FileKind)[keyof typeof FileKind];

/** Bytes of a file's beginning that are enough to ask how much of it is needed. */
export const HEADER_BYTES = 48;

const DIALECTS = { tint: 0, naga: 1 } as const;

export class Core {
  readonly exports: Exports;
  /** For a window's source and result. */
  readonly packing: Room;
  #bytes: Uint8Array;
  #words: Int32Array;

  private constructor(instance: WebAssembly.Instance) {
    this.exports = instance.exports as unknown as Exports;
    this.exports._initialize();
    this.#bytes = new Uint8Array(this.exports.memory.buffer);
    this.#words = new Int32Array(this.exports.memory.buffer);
    this.packing = new Room(this);
  }

  /** From the compiled module, its bytes, or a response that brings them. */
  static async create(from: WebAssembly.Module | BufferSource | Response): Promise<Core> {
    const module = from instanceof WebAssembly.Module ? from : await compile(from);
    return new Core(await WebAssembly.instantiate(module, {}));
  }

  /** The heap as it is now: it moves when it grows, so don't keep it. */
  get bytes(): Uint8Array {
    if (this.#bytes.byteLength === 0) this.#bytes = new Uint8Array(this.exports.memory.buffer);
    return this.#bytes;
  }
  get words(): Int32Array {
    if (this.#words.byteLength === 0) this.#words = new Int32Array(this.exports.memory.buffer);
    return this.#words;
  }
  get heapBytes(): number {
    return this.exports.memory.buffer.byteLength;
  }

  alloc(size: number): number {
    const at = this.exports.etwg_alloc(Math.max(size, 1));
    if (at === 0) throw new ModelError(`the planner's memory has no room for ${size} bytes`);
    return at;
  }

  /** Runs `use` with a copy of the bytes in the heap. */
  lend<T>(bytes: Uint8Array, use: (at: number) => T): T {
    const at = this.alloc(bytes.byteLength);
    try {
      this.bytes.set(bytes, at);
      return use(at);
    } finally {
      this.exports.etwg_free(at);
    }
  }
  lendText<T>(text: string, use: (at: number, size: number) => T): T {
    const bytes = new TextEncoder().encode(text);
    return this.lend(bytes, (at) => use(at, bytes.byteLength));
  }

  text(): string {
    const at = this.exports.etwg_result();
    return new TextDecoder().decode(this.bytes.subarray(at, at + this.exports.etwg_result_size()));
  }
  json<T>(): T {
    return JSON.parse(this.text()) as T;
  }
  /** The result's bytes, copied. */
  result(): Uint8Array {
    const at = this.exports.etwg_result();
    return this.bytes.slice(at, at + this.exports.etwg_result_size());
  }
  check(worked: number): number {
    if (worked === 0) throw new ModelError(this.text());
    return worked;
  }

  headSize(kind: FileKind, head: Uint8Array, fileSize: number): number {
    if (fileSize === 0) throw new ModelError("it is empty");
    return this.lend(head, (at) =>
      this.check(this.exports.etwg_head_size(kind, at, head.byteLength, fileSize)),
    );
  }
  program(head: Uint8Array, fileSize: number): ProgramForm {
    this.lend(head, (at) => this.check(this.exports.etwg_program(at, head.byteLength, fileSize)));
    return this.json();
  }
  dataFile(head: Uint8Array, fileSize: number): { named_data: NamedData[] } {
    this.lend(head, (at) => this.check(this.exports.etwg_data_file(at, head.byteLength, fileSize)));
    return this.json();
  }
  delegate(head: Uint8Array, blobSize: number): CoreDelegate {
    const handle = this.lend(head, (at) => this.exports.etwg_delegate(at, head.byteLength, blobSize));
    return new CoreDelegate(this, this.check(handle));
  }
  /** Which states of a program's delegates are one; those of a method in its order. */
  sharedStates(
    delegates: readonly { delegate: CoreDelegate; method: string; states: string }[],
  ): SharedNumbers[] {
    const handles = Uint32Array.from(delegates, ({ delegate }) => delegate.handle);
    const methods = JSON.stringify(delegates.map(({ method, states }) => ({ method, states })));
    this.lend(new Uint8Array(handles.buffer), (table) =>
      this.lendText(methods, (at, size) =>
        this.check(this.exports.etwg_shared_states(table, handles.length, at, size)),
      ),
    );
    return this.json<[number, number][][]>().map((pairs) => new Map(pairs));
  }
  /** WGSL of the kernel that chooses a token from `count` logits (src/kernels/token_choice.h). */
  tokenKernel(
    sampled: boolean,
    first: number,
    count: number,
    { max_workgroup_invocations, dialect }: Pick<Capabilities, "max_workgroup_invocations" | "dialect">,
  ): string {
    this.check(
      this.exports.etwg_token_kernel(
        sampled ? 1 : 0,
        first,
        count,
        max_workgroup_invocations,
        DIALECTS[dialect],
      ),
    );
    return this.text();
  }
}

/** Memory of the heap that is used again and again. */
class Room {
  readonly #core: Core;
  #at = 0;
  #size = 0;

  constructor(core: Core) {
    this.#core = core;
  }

  get at(): number {
    return this.#at;
  }
  /** Where so many bytes fit; what was there before is gone. */
  fit(bytes: number): number {
    if (this.#size >= bytes) return this.#at;
    this.free();
    this.#at = this.#core.alloc(bytes);
    this.#size = bytes;
    return this.#at;
  }
  free(): void {
    if (this.#at !== 0) this.#core.exports.etwg_free(this.#at);
    this.#at = 0;
    this.#size = 0;
  }
}

async function compile(from: BufferSource | Response): Promise<WebAssembly.Module> {
  if (!(from instanceof Response)) return WebAssembly.compile(from);
  if (!from.ok) throw new ModelError(`${from.url}: ${from.status} ${from.statusText}`);
  const isWasm = from.headers.get("Content-Type")?.startsWith("application/wasm");
  return isWasm ? WebAssembly.compileStreaming(from) : WebAssembly.compile(await from.arrayBuffer());
}

export interface LoadSettings {
  capabilities: Partial<Capabilities>;
  options?: ModelOptions;
  /** Values of states that other delegates use, too (Core.sharedStates). */
  shared?: Iterable<number>;
}

/** What plans depend on of a delegate's constants. */
export interface ReadConstants {
  /** By index, of those that the form says are `read`. */
  bytes: ReadonlyMap<number, Uint8Array>;
  /** Indices of those with `zeros` that are all zero. */
  zeros: readonly number[];
}
export const NO_CONSTANTS: ReadConstants = { bytes: new Map(), zeros: [] };

/** A delegate that has been read and not yet compiled. */
export class CoreDelegate {
  readonly form: DelegateForm;
  readonly #core: Core;
  #handle: number;

  constructor(core: Core, handle: number) {
    this.#core = core;
    this.#handle = handle;
    core.exports.etwg_delegate_json(handle);
    this.form = core.json();
  }

  /** Uses the delegate up. */
  load(settings: LoadSettings, constants: ReadConstants): CoreModel {
    const core = this.#core;
    const handle = this.#handle;
    this.#handle = 0;
    const model = this.#lend(settings, constants, (device, size, table, count) =>
      core.exports.etwg_load(handle, device, size, table, count),
    );
    return new CoreModel(core, core.check(model));
  }

  /** Trials of the kernels that a load would use, but for those whose `verdicts` are known (JSON). */
  test(settings: LoadSettings, constants: ReadConstants, verdicts: string): CoreTest {
    const core = this.#core;
    const test = this.#lend(settings, constants, (device, size, table, count) =>
      core.lendText(verdicts, (at, length) =>
        core.exports.etwg_test(this.#handle, device, size, table, count, at, length),
      ),
    );
    return new CoreTest(core, core.check(test));
  }

  // Settings as text and constants as a table, in the heap.
  #lend<T>(
    { capabilities, options, shared = [] }: LoadSettings,
    { bytes: constants, zeros }: ReadConstants,
    use: (device: number, size: number, table: number, count: number) => T,
  ): T {
    const core = this.#core;
    const settings = JSON.stringify({
      capabilities,
      options,
      zero_constants: zeros,
      shared_states: [...shared],
    });
    const table = core.alloc(12 * constants.size);
    const lent = [table];
    try {
      [...constants].forEach(([index, bytes], i) => {
        const at = core.alloc(bytes.byteLength);
        lent.push(at);
        core.bytes.set(bytes, at);
        core.words.set([index, at, bytes.byteLength], table / 4 + 3 * i);
      });
      return core.lendText(settings, (at, size) => use(at, size, table, constants.size));
    } finally {
      for (const at of lent) core.exports.etwg_free(at);
    }
  }

  get handle(): number {
    return this.#handle;
  }
  discard(): void {
    if (this.#handle !== 0) this.#core.exports.etwg_discard(this.#handle);
    this.#handle = 0;
  }
}

/** Trials of a delegate's kernels: next() gives one, which is then given its end. */
export class CoreTest {
  readonly #core: Core;
  readonly #handle: number;

  constructor(core: Core, handle: number) {
    this.#core = core;
    this.#handle = handle;
  }

  dispose(): void {
    this.#core.exports.etwg_end_test(this.#handle);
  }

  /** A model to run once, which is the caller's; none when all has been tried. */
  next(): CoreModel | undefined {
    const model = this.#core.exports.etwg_next_trial(this.#handle);
    if (model !== 0) return new CoreModel(this.#core, model);
    const why = this.#core.text();
    if (why !== "") throw new ModelError(why);
    return undefined;
  }

  inputs(): TrialInput[] {
    this.#core.exports.etwg_trial_inputs(this.#handle);
    return this.#core.json();
  }
  /** Bytes of a tensor among them. */
  input(index: number): Uint8Array {
    this.#core.exports.etwg_trial_input(this.#handle, index);
    return this.#core.result();
  }
  /** Made-up bytes of one of the delegate's constants. */
  constant(index: number): Uint8Array {
    this.#core.check(this.#core.exports.etwg_trial_constant(this.#handle, index));
    return this.#core.result();
  }

  gave(outputs: ReadonlyMap<number, { dtype: DType; bytes: Uint8Array }>): void {
    const core = this.#core;
    for (const [index, { dtype, bytes }] of outputs)
      core.lendText(dtype, (type, typeSize) =>
        core.lend(bytes, (at) =>
          core.check(
            core.exports.etwg_trial_output(this.#handle, index, type, typeSize, at, bytes.byteLength),
          ),
        ),
      );
    core.check(core.exports.etwg_trial_ended(this.#handle, 0, 0, 0));
  }
  /** Throws where the device was lost, which ends the test. */
  failed(how: "failed" | "no memory" | "lost", why: string): void {
    const core = this.#core;
    const number = { failed: 1, "no memory": 2, lost: 3 }[how];
    core.lendText(why, (at, size) =>
      core.check(core.exports.etwg_trial_ended(this.#handle, number, at, size)),
    );
  }

  /** `where` is the device's name in sentences. */
  found(where: string): TestFindings {
    this.#core.lendText(where, (at, size) => this.#core.exports.etwg_test_json(this.#handle, at, size));
    return this.#core.json();
  }
}

const INPUT_WORDS = 12; // EtwgInput: rank, eight sizes, scalar, elements, element count
const SCALAR_WORD = 9;

/** A compiled delegate. */
export class CoreModel implements PlannedModel {
  readonly form: ModelForm;
  readonly #core: Core;
  readonly #handle: number;
  readonly #inputs: number;
  readonly #elements: Room[];

  constructor(core: Core, handle: number) {
    this.#core = core;
    this.#handle = handle;
    this.form = this.describe();
    this.#inputs = core.alloc(4 * INPUT_WORDS * this.form.inputs.length);
    this.#elements = this.form.inputs.map(() => new Room(core));
  }

  /** As it is now: constants come into being while plans are made. */
  describe(): ModelForm {
    this.#core.exports.etwg_model_json(this.#handle);
    return this.#core.json();
  }

  dispose(): void {
    const { exports } = this.#core;
    exports.etwg_free(this.#inputs);
    for (const room of this.#elements) room.free();
    exports.etwg_unload(this.#handle);
  }

  /** Which of a call's values are which of the graph's. */
  match(values: PassedValue[], aliased: boolean): Match {
    const core = this.#core;
    core.lendText(JSON.stringify({ aliased, values }), (at, size) =>
      core.check(core.exports.etwg_match(this.#handle, at, size)),
    );
    return core.json();
  }

  /** The number of the plan for these inputs; the same number means the same plan. */
  prepare(inputs: readonly LiveInput[], wideIntegers: boolean): number {
    const core = this.#core;
    for (let i = 0; i < inputs.length; ++i) this.#write(i, inputs[i]);
    return core.check(
      core.exports.etwg_prepare(this.#handle, this.#inputs, inputs.length, wideIntegers ? 1 : 0),
    );
  }

  #write(i: number, { sizes, scalar, elements }: LiveInput): void {
    if (sizes.length > 8) throw new ModelError(`input ${i} has rank ${sizes.length}, but 8 is the most`);
    if (elements !== undefined) this.#elements[i].fit(4 * elements.length);
    const words = this.#core.words;
    const at = this.#inputs / 4 + INPUT_WORDS * i;
    words[at] = sizes.length;
    for (let d = 0; d < sizes.length; ++d) words[at + 1 + d] = sizes[d];
    words[at + SCALAR_WORD] = scalar;
    words[at + SCALAR_WORD + 1] = this.#elements[i].at;
    words[at + SCALAR_WORD + 2] = elements?.length ?? 0;
    if (elements !== undefined) words.set(elements, this.#elements[i].at / 4);
  }

  /** For the largest inputs; its activations may pass the device's limits. */
  boundPlan(): PlanForm {
    this.#core.exports.etwg_bound_plan_json(this.#handle);
    return this.#core.json();
  }
  /** Of the plan prepared last. */
  plan(): PlanForm {
    this.#core.exports.etwg_plan_json();
    return this.#core.json();
  }
  uniforms(): Uint8Array {
    this.#core.exports.etwg_plan_uniforms();
    return this.#core.result();
  }

  /** Grows as plans are made. */
  get kernelCount(): number {
    return this.#core.exports.etwg_kernel_count(this.#handle);
  }
  kernel(index: number, dialect: Capabilities["dialect"]): string {
    this.#core.check(this.#core.exports.etwg_kernel(this.#handle, index, DIALECTS[dialect]));
    return this.#core.text();
  }

  /** Values of live scalars by slot, until the next call. */
  scalars(): Int32Array {
    const at = this.#core.exports.etwg_scalars(this.#handle) / 4;
    return this.#core.words.subarray(at, at + this.form.scalars);
  }
  /** The value of an integer of the graph, by its number there. */
  scalarOf(value: number): number {
    const slot = this.form.scalar_values.indexOf(value);
    if (slot < 0) throw new ModelError(`value ${value} of the graph is no live integer`);
    return this.scalars()[slot];
  }
  windows(state: boolean, index: number, most: number): PackingWindow[] {
    this.#core.check(this.#core.exports.etwg_windows(this.#handle, state ? 1 : 0, index, most));
    return this.#core
      .json<[number, number, number, number, number, [number, number][]][]>()
      .map(([offset, size, part, pieces, stride, ranges], number) => ({
        number,
        offset,
        size,
        part,
        pieces,
        stride,
        ranges: ranges.map(([offset, size]) => ({ offset, size })),
      }));
  }

  /** A window's bytes, valid until the next call; `fill` writes its ranges, one after the other. */
  pack(
    state: boolean,
    index: number,
    most: number,
    window: PackingWindow,
    fill: (sources: Uint8Array) => void,
  ): Uint8Array<ArrayBuffer> {
    const core = this.#core;
    const given = window.ranges.reduce((sum, { size }) => sum + size, 0);
    const out = core.packing.fit(window.size + given);
    const sources = out + window.size;
    fill(core.bytes.subarray(sources, sources + given));
    core.check(
      core.exports.etwg_pack(
        this.#handle,
        state ? 1 : 0,
        index,
        most,
        window.number,
        sources,
        given,
        out,
        window.size,
      ),
    );
    return core.bytes.subarray(out, out + window.size) as Uint8Array<ArrayBuffer>;
  }
}
