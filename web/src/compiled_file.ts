/** Compiled programs (docs/compiled.md): all of such a file but its weights. */
import { errorText, ModelError } from "./errors.ts";
import type {
  Capabilities,
  Match,
  ModelForm,
  PackedForm,
  PlanForm,
  ProgramMethod,
  StateForm,
} from "./forms.ts";
import { FIRST_BYTES } from "./http.ts";
import { otherKind } from "./kinds.ts";
import {
  anything,
  count,
  flag,
  integer,
  list,
  oneOf,
  optional,
  orNull,
  placeIn,
  record,
  text,
  upTo,
} from "./shapes.ts";
import { type ByteSource, read, readHead } from "./source.ts";

const MAGIC = 0x45_54_57_47; // "ETWG"
const VERSION = 1;
const HEADER_BYTES = 48;

/** Where it is in the file; null stands for zeros. */
export type StoredForm = Pick<PackedForm, "packing" | "bytes"> & { offset: number | null };

/** A plan, and how its scalars follow from a call's values. */
export interface CompiledPlan {
  /** By input; null for an integer. */
  sizes: (number[] | null)[];
  /** Whether it is for 64-bit integers; null for both. */
  wide_integers: boolean | null;
  /** Where they begin among the uniforms. */
  uniforms: number;
  values: { input: number; element: number | null; least: number; most: number }[];
  /** By slot. */
  scalars: { base: number; factors: number[] }[];
  plan: PlanForm;
}

export interface CompiledDelegate {
  method: string;
  /** Among the method's. */
  number: number;
  model: Omit<ModelForm, "constants" | "states"> & {
    constants: StoredForm[];
    states: (StoredForm & Pick<StateForm, "value">)[];
  };
  /** By state of the graph: the number of a buffer, which is another delegate's, too. */
  shared_states?: [value: number, buffer: number][];
  matches: (Match & { values: number[] })[];
  kernels: (number | null)[];
  plans: CompiledPlan[];
}

export interface CompiledForm {
  capabilities: Capabilities;
  methods: ProgramMethod[];
  kernels: string[];
  delegates: CompiledDelegate[];
}

export class CompiledFile {
  readonly source: ByteSource;
  readonly form: CompiledForm;
  readonly uniforms: Uint8Array;

  private constructor(source: ByteSource, form: CompiledForm, uniforms: Uint8Array) {
    this.source = source;
    this.form = form;
    this.uniforms = uniforms;
  }

  static async open(source: ByteSource, signal?: AbortSignal): Promise<CompiledFile> {
    try {
      return await CompiledFile.#open(source, signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ModelError && error.message.startsWith(source.name)) throw error;
      throw new ModelError(`${source.name} is no compiled program that can be read: ${errorText(error)}`, {
        cause: error,
      });
    }
  }

  static async #open(source: ByteSource, signal?: AbortSignal): Promise<CompiledFile> {
    const first = await readHead(source, FIRST_BYTES, signal);
    const view = new DataView(first.buffer, first.byteOffset, first.byteLength);
    if (first.byteLength < HEADER_BYTES || view.getUint32(0) !== MAGIC) {
      const other = await otherKind(source, "compiled", signal);
      throw new ModelError(other === undefined ? "it does not begin like one" : `it is ${other}`);
    }
    const number = (at: number): number => Number(view.getBigUint64(at, true));
    const version = view.getUint32(4, true);
    if (version !== VERSION)
      throw new ModelError(
        `it has version ${version}, and this executor reads ${VERSION}: compile the program with the package's own version`,
      );
    const [size, json, uniforms] = [8, 16, 24].map(number);
    if (size !== source.size)
      throw new ModelError(`it has ${source.size} bytes instead of ${size}: is it truncated?`);
    const end = HEADER_BYTES + json + uniforms;
    if (end > size) throw new ModelError(`its head of ${end} bytes does not fit into ${size}`);
    const head = await headOf(source, first, end, signal);
    if (crc32(head) !== view.getUint32(32, true)) throw new ModelError("it is damaged: its checksum differs");
    const form = JSON.parse(new TextDecoder().decode(head.subarray(0, json)));
    checkForm(form, size, uniforms);
    return new CompiledFile(source, form, head.subarray(json));
  }
}

// What lies behind the header.
async function headOf(
  source: ByteSource,
  first: Uint8Array,
  end: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (end <= first.byteLength) return first.subarray(HEADER_BYTES, end);
  const out = new Uint8Array(end - HEADER_BYTES);
  out.set(first.subarray(HEADER_BYTES));
  const rest = await read(source, first.byteLength, end - first.byteLength, signal);
  out.set(rest, first.byteLength - HEADER_BYTES);
  return out;
}

function crc32(bytes: Uint8Array): number {
  const table = Uint32Array.from({ length: 256 }, (_, i) => {
    for (let bit = 0; bit < 8; ++bit) i = i & 1 ? 0xedb88320 ^ (i >>> 1) : i >>> 1;
    return i;
  });
  let crc = -1;
  for (const byte of bytes) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// --- Whether it is one -----------------------------------------------------------------------

const MOST_INT32 = 2 ** 31 - 1;
const sizes = list(upTo(MOST_INT32));
const edge = record({
  value: integer,
  type: optional(text),
  host_type: optional(text),
  sizes: optional(sizes),
});
const value = record({ id: integer, dtype: optional(text), sizes: optional(sizes) });

function checkForm(form: CompiledForm, fileBytes: number, uniformBytes: number): void {
  record({
    capabilities: record({ max_workgroup_size: list(count, 3) }),
    kernels: list(text),
    methods: list(
      record({
        name: text,
        kernel_calls: count,
        kernels: list(text),
        inputs: list(value),
        outputs: list(value),
        delegates: list(record({ backend: text, aliased: flag })),
        calls: list(record({ delegate: count, values: list(value) })),
      }),
    ),
    delegates: list(record({ method: text, number: count, model: anything })),
  })(form, "");
  for (const { name, delegates, calls } of form.methods)
    list(record({ delegate: placeIn(delegates) }))(calls, `${name}.calls`);
  for (const [i, delegate] of form.delegates.entries())
    checkDelegate(delegate, `delegates[${i}]`, form, fileBytes, uniformBytes);
}

function checkDelegate(
  delegate: CompiledDelegate,
  where: string,
  { kernels }: CompiledForm,
  fileBytes: number,
  uniformBytes: number,
): void {
  const stored = record({ packing: text, bytes: count, offset: orNull(count) });
  record({
    model: record({
      inputs: list(edge),
      outputs: list(edge),
      constants: list(stored),
      states: list(stored),
      scalars: count,
      scalar_values: list(integer),
    }),
    shared_states: optional(list(list(count, 2))),
    matches: list(
      record({
        values: list(integer),
        inputs: list(list(count)),
        first_output: count,
        outputs: list(count),
      }),
    ),
    kernels: list(orNull(placeIn(kernels))),
    plans: list(anything),
  })(delegate, where);
  const { model, matches, plans } = delegate;
  for (const { bytes, offset } of [...model.constants, ...model.states])
    if (bytes % 4 !== 0 || (offset !== null && offset + bytes > fileBytes))
      throw new ModelError(`a constant of ${bytes} bytes at ${offset} is not within the file's ${fileBytes}`);
  for (const match of matches)
    record({
      inputs: list(list(placeIn(match.values)), model.inputs.length),
      outputs: list(placeIn(model.outputs), match.values.length - match.first_output),
    })(match, `${where}.matches`);
  for (const [i, plan] of plans.entries()) checkPlan(plan, `${where}.plans[${i}]`, delegate, uniformBytes);
}

const SPACES = ["slot", "constant", "state", "uniforms", "scalars"];

function checkPlan(
  plan: CompiledPlan,
  where: string,
  { model, kernels }: CompiledDelegate,
  uniformBytes: number,
): void {
  const planned = (edges: unknown[]) =>
    record({
      position: placeIn(edges),
      type: text,
      storage: text,
      sizes,
      space: oneOf("slot", "constant", "state"),
      index: count,
      on_device: flag,
    });
  record({
    sizes: list(orNull(sizes), model.inputs.length),
    wide_integers: orNull(flag),
    values: list(
      record({ input: placeIn(model.inputs), element: orNull(count), least: integer, most: integer }),
    ),
    plan: record({
      inputs: list(planned(model.inputs)),
      outputs: list(planned(model.outputs)),
      slots: list(count),
      uniform_bytes: upTo(uniformBytes),
      dispatches: list(
        record({
          kernel: text,
          kernel_index: placeIn(kernels),
          grid: list(count, 3),
          live: optional(record({ scalar: upTo(model.scalars - 1), add: integer, divide: upTo(MOST_INT32) })),
          bindings: list(
            record({ space: oneOf(...SPACES), index: count, write: flag, offset: count, size: count }),
          ),
        }),
      ),
    }),
  })(plan, where);
  record({
    scalars: list(record({ base: integer, factors: list(integer, plan.values.length) }), model.scalars),
    uniforms: upTo(uniformBytes - plan.plan.uniform_bytes),
  })(plan, where);
  const { inputs, outputs, slots, dispatches } = plan.plan;
  const places: Record<string, number> = {
    slot: slots.length,
    constant: model.constants.length,
    state: model.states.length,
    uniforms: plan.plan.uniform_bytes > 0 ? 1 : 0,
    scalars: model.scalars,
  };
  for (const { space, index } of [
    ...inputs.filter(({ on_device }) => on_device),
    ...outputs,
    ...dispatches.flatMap(({ bindings }) => bindings),
  ])
    upTo((places[space] ?? 0) - 1)(space === "uniforms" ? 0 : index, `${where}: ${space} ${index}`);
  for (const { kernel, kernel_index } of dispatches)
    if (kernels[kernel_index] === null) throw new ModelError(`${where}: kernel ${kernel} has no text`);
}
