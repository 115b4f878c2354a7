/** A program's files, as far as they are read before any weight: heads, and constants that are computed with. */
import { type Core, type CoreModel, type CoreTest, FileKind, HEADER_BYTES } from "./core.ts";
import { errorText, ModelError } from "./errors.ts";
import type {
  Capabilities,
  DelegateForm,
  ModelOptions,
  NamedData,
  PackedForm,
  ProgramDelegate,
  ProgramForm,
  ProgramMethod,
} from "./forms.ts";
import { FIRST_BYTES } from "./http.ts";
import { otherKind } from "./kinds.ts";
import { type OpenOptions, opener } from "./open.ts";
import { methodsOf } from "./refusals.ts";
import { type ByteSource, read, readHead, type Source } from "./source.ts";
import { type Place, readPlaces } from "./weights.ts";

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
  readonly #known: ReadonlyMap<number, Uint8Array>;

  private constructor(
    core: Core,
    blob: ByteSource,
    named: (key: string) => Place,
    head: Uint8Array,
    form: DelegateForm,
    known: ReadonlyMap<number, Uint8Array>,
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
    const known = new Map<number, Uint8Array>();
    const file = new DelegateFile(core, blob, named, head, form, known);
    const wanted = [...form.constants.entries()].filter(([, constant]) => constant.read);
    const found = await readPlaces(
      wanted.map(([, constant]) => file.place(constant)),
      signal,
    );
    wanted.forEach(([index], i) => {
      known.set(index, found[i]);
    });
    return file;
  }

  compile(capabilities: Partial<Capabilities>, options: ModelOptions = {}): CoreModel {
    return this.#core.delegate(this.#head, this.#blob.size).load(capabilities, options, this.#known);
  }

  /** Trials of the kernels that compile() would use; `verdicts` are known ones (JSON). */
  test(capabilities: Partial<Capabilities>, options: ModelOptions, verdicts: string): CoreTest {
    const delegate = this.#core.delegate(this.#head, this.#blob.size);
    try {
      return delegate.test(capabilities, options, this.#known, verdicts);
    } finally {
      delegate.discard();
    }
  }

  /** Where a constant's bytes are. */
  place({ key, offset, length }: Pick<PackedForm["parts"][number], "key" | "offset" | "length">): Place {
    if (key !== "") return this.#named(key);
    return { source: this.#blob, offset: this.form.constants_at + offset, size: length };
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
