/** A program's files, as far as they are read before any weight: heads, and constants that are computed with. */
import {
  type Core,
  type CoreDelegate,
  type CoreModel,
  type CoreTest,
  FileKind,
  HEADER_BYTES,
  type LoadSettings,
  type ReadConstants,
} from "./core.ts";
import { errorText, ModelError } from "./errors.ts";
import type {
  ConstantForm,
  DelegateForm,
  HostContents,
  NamedData,
  ProgramDelegate,
  ProgramForm,
  ProgramMethod,
} from "./forms.ts";
import { FIRST_BYTES } from "./http.ts";
import { otherKind } from "./kinds.ts";
import { type OpenOptions, opener } from "./open.ts";
import { BACKEND, methodsOf } from "./refusals.ts";
import type { SharedNumbers } from "./shared_states.ts";
import { type ByteSource, read, readHead, type Source } from "./source.ts";
import { type Place, readPlaces } from "./weights.ts";

const WHOLE_BYTES = 1 << 18; // of a constant that is read before the weights are

export interface FileOptions extends OpenOptions {
  core: Core;
  /** Tensor data files (.ptd) with weights outside the program. */
  data?: Source | Source[];
}

/** What is read of a program's files before any weight. */
export class ProgramFiles {
  readonly form: ProgramForm;
  readonly source: ByteSource;
  readonly #data = new Map<string, Place>();

  private constructor(source: ByteSource, form: ProgramForm) {
    this.source = source;
    this.form = form;
  }

  static async open(from: Source, options: FileOptions): Promise<ProgramFiles> {
    const { core, data, signal } = options;
    const open = await opener(options);
    const source = await open(from);
    const form = await readForm(source, FileKind.program, core, signal, (head) =>
      core.program(head, source.size),
    );
    const files = new ProgramFiles(source, form);
    files.#add(source, form.named_data);
    for (const one of data === undefined ? [] : Array.isArray(data) ? data : [data]) {
      const file = await open(one);
      const { named_data } = await readForm(file, FileKind.data, core, signal, (head) =>
        core.dataFile(head, file.size),
      );
      files.#add(file, named_data);
    }
    return files;
  }

  /** Those that run, or of these those with the given names. */
  methods(names?: readonly string[]): ProgramMethod[] {
    return methodsOf(this.form.methods, names);
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

  /** A delegate's bytes. */
  blob({ offset, size }: ProgramDelegate): ByteSource {
    return part(this.source, offset, size);
  }
  /** Those of these methods that are for this backend. */
  async delegates(
    methods: readonly ProgramMethod[],
    { core, signal }: Pick<FileOptions, "core" | "signal">,
  ): Promise<Map<ProgramDelegate, DelegateFile>> {
    const out = new Map<ProgramDelegate, DelegateFile>();
    for (const delegate of methods.flatMap(({ delegates }) => delegates))
      if (delegate.backend === BACKEND)
        out.set(
          delegate,
          await DelegateFile.read(core, this.blob(delegate), (key) => this.place(key), signal),
        );
    return out;
  }
  /** Where a tensor of a method's own has its elements. */
  contents({ key, offset, size }: HostContents): Place {
    return key === "" ? { source: this.source, offset, size } : this.place(key);
  }
  place(key: string): Place {
    const place = this.#data.get(key);
    if (place === undefined)
      throw new ModelError(`weight '${key}' is neither in ${this.source.name} nor in a data file`);
    return place;
  }
}

/** A delegate, read but for its weights. */
export class DelegateFile {
  readonly form: DelegateForm;
  readonly #core: Core;
  readonly #blob: ByteSource;
  readonly #named: (key: string) => Place;
  readonly #head: Uint8Array;
  readonly #known: ReadConstants;

  private constructor(
    core: Core,
    blob: ByteSource,
    named: (key: string) => Place,
    head: Uint8Array,
    form: DelegateForm,
    known: ReadConstants,
  ) {
    this.#core = core;
    this.#blob = blob;
    this.#named = named;
    this.#head = head;
    this.form = form;
    this.#known = known;
  }

  /** `named` finds constants that lie outside the blob. */
  static async read(
    core: Core,
    blob: ByteSource,
    named: (key: string) => Place,
    signal?: AbortSignal,
  ): Promise<DelegateFile> {
    const head = await headOf(core, blob, FileKind.delegate, signal);
    const delegate = core.delegate(head, blob.size);
    const { form } = delegate;
    delegate.discard();
    const known = { bytes: new Map<number, Uint8Array>(), zeros: [] as number[] };
    const file = new DelegateFile(core, blob, named, head, form, known);
    await file.#read(known.bytes, known.zeros, signal);
    return file;
  }

  // What plans depend on. Zero points of a large layer may be many: they are looked at as they come.
  async #read(bytes: Map<number, Uint8Array>, zeros: number[], signal?: AbortSignal): Promise<void> {
    const constants = [...this.form.constants.entries()];
    const isWhole = ({ read, zeros, length }: DelegateForm["constants"][number]): boolean =>
      read || (zeros && length <= WHOLE_BYTES);
    const whole = constants.filter(([, constant]) => isWhole(constant));
    const found = await readPlaces(
      whole.map(([, constant]) => this.place(constant)),
      signal,
    );
    for (const [i, [index, constant]] of whole.entries()) {
      if (constant.read) bytes.set(index, found[i]);
      if (constant.zeros && isZero(found[i])) zeros.push(index);
    }
    const large = constants.filter(([, constant]) => constant.zeros && !isWhole(constant));
    for (const [index, constant] of large)
      if (await holdsZeros(this.place(constant), signal)) zeros.push(index);
  }

  /** Without its weights; the caller's to load or discard. */
  decode(): CoreDelegate {
    return this.#core.delegate(this.#head, this.#blob.size);
  }

  compile(settings: LoadSettings): CoreModel {
    return this.decode().load(settings, this.#known);
  }

  /** Trials of the kernels that compile() would use; `verdicts` are known ones (JSON). */
  test(settings: LoadSettings, verdicts: string): CoreTest {
    const delegate = this.decode();
    try {
      return delegate.test(settings, this.#known, verdicts);
    } finally {
      delegate.discard();
    }
  }

  /** Where a constant's bytes are. */
  place({ key, offset, length }: Pick<ConstantForm, "key" | "offset" | "length">): Place {
    if (key !== "") return this.#named(key);
    return { source: this.#blob, offset: this.form.constants_at + offset, size: length };
  }
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

// Reads no more than it takes to tell.
async function holdsZeros({ source, offset, size }: Place, signal?: AbortSignal): Promise<boolean> {
  for await (const piece of source.stream(offset, size, signal)) if (!isZero(piece)) return false;
  return true;
}

/** Which states of a program's delegates are one. */
export function sharedStates(
  core: Core,
  methods: readonly ProgramMethod[],
  read: ReadonlyMap<ProgramDelegate, DelegateFile>,
): Map<ProgramDelegate, SharedNumbers> {
  const known = methods.flatMap(({ name, delegates }) =>
    delegates.filter((form) => read.has(form)).map((form) => ({ form, method: name, states: form.states })),
  );
  const opened = known.map((one) => ({ ...one, delegate: read.get(one.form)!.decode() }));
  try {
    const numbers = core.sharedStates(opened);
    return new Map(known.map(({ form }, i) => [form, numbers[i]]));
  } finally {
    for (const { delegate } of opened) delegate.discard();
  }
}

async function readForm<T>(
  source: ByteSource,
  kind: FileKind,
  core: Core,
  signal: AbortSignal | undefined,
  parse: (head: Uint8Array) => T,
): Promise<T> {
  const what = kind === FileKind.data ? "tensor data file (.ptd)" : "program (.pte)";
  try {
    return parse(await headOf(core, source, kind, signal));
  } catch (error) {
    if (!(error instanceof ModelError) || error.message.startsWith(source.name)) throw error;
    const other = await otherKind(source, kind === FileKind.data ? "data" : "program", signal);
    const why = other === undefined ? errorText(error) : `it is ${other}`;
    throw new ModelError(`${source.name} is no ${what} that can be read: ${why}`, { cause: error });
  }
}

async function headOf(
  core: Core,
  source: ByteSource,
  kind: FileKind,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const first = await readHead(source, FIRST_BYTES, signal);
  const needed = Math.max(core.headSize(kind, first.subarray(0, HEADER_BYTES), source.size), HEADER_BYTES);
  if (needed <= first.byteLength) return first.subarray(0, needed);
  const head = new Uint8Array(Math.min(needed, source.size));
  head.set(first);
  head.set(
    await read(source, first.byteLength, head.byteLength - first.byteLength, signal),
    first.byteLength,
  );
  return head;
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
    missing: async (at, length) => source.missing?.(offset + at, length) ?? 0,
  };
}
