/** A program's files, as far as they are read before any weight: heads, and constants that are computed with. */
import { absolute, openKept } from "./cache.ts";
import { type Core, type CoreModel, FileKind, HEADER_BYTES } from "./core.ts";
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
import { type ByteSource, type Notice, openLocal, read, readHead, type Source } from "./source.ts";
import { browserStore, type CacheStore } from "./stores.ts";
import { type Place, readPlaces } from "./weights.ts";

export const BACKEND = "VulkanBackend";

export interface FileOptions {
  core: Core;
  /** Tensor data files (.ptd) with weights outside the program. */
  data?: Source | Source[];
  /** Whether files of servers are kept for the next time, or where; the browser's own store unless it is given. */
  cache?: boolean | CacheStore;
  /** Hears what a user may want to know; console.warn unless it is given. */
  onNotice?: Notice;
  signal?: AbortSignal;
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
    const { core, data, cache = true, onNotice: notice = console.warn, signal } = options;
    const store = typeof cache === "object" ? cache : cache ? await browserStore() : undefined;
    const open = (one: Source): Promise<ByteSource> | ByteSource =>
      typeof one === "string" || one instanceof URL
        ? openKept(absolute(one), { store, notice, signal })
        : openLocal(one);
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
    const all = this.form.methods.filter((method) => !isConstant(method));
    const missing = names?.find((name) => all.every((method) => method.name !== name));
    if (missing !== undefined)
      throw new ModelError(
        `the program has no method '${missing}', but ${all.map(({ name }) => name).join(", ")}`,
      );
    return names === undefined ? all : all.filter(({ name }) => names.includes(name));
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

const isConstant = (form: ProgramMethod): boolean =>
  form.kernel_calls === 0 && form.calls.length === 0 && form.inputs.length === 0;

type Constant = number | boolean | string | null;
/** Methods such as get_max_seq_len, which only give values. */
export type Constants = ReadonlyMap<string, Constant | Constant[]>;

export function constantsOf(form: ProgramForm): Constants {
  return new Map(
    form.methods.filter(isConstant).map(({ name, outputs }) => {
      const values = outputs.map(({ value }) => value ?? null);
      return [name, values.length === 1 ? values[0] : values];
    }),
  );
}

/** Why a method cannot run here, as far as the program's head says. */
export function refusalsOf({ name, kernels, delegates }: ProgramMethod): string[] {
  const out: string[] = [];
  if (kernels.length > 0)
    out.push(
      `method '${name}' leaves ${kernels.join(", ")} to ExecuTorch's kernels, which are not in the browser: ` +
        "export it with executorch_webgpu.lower, which says what stays outside and why",
    );
  for (const { backend } of delegates)
    if (backend !== BACKEND) out.push(`method '${name}' has a delegate for ${backend}, not for ${BACKEND}`);
  return out;
}

/** Why these methods, which keep states, cannot be loaded together: the file does not say which are one. */
export function stateRefusal(keeping: readonly { name: string }[]): string | undefined {
  if (keeping.length < 2) return undefined;
  return (
    `methods ${keeping.map(({ name }) => `'${name}'`).join(" and ")} keep states, and may mean the same ones, ` +
    "which is not to be had in the browser yet: load one of them with the option 'methods'"
  );
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

  /** Where a constant's bytes are. */
  place({ key, offset, length }: Pick<PackedForm["parts"][number], "key" | "offset" | "length">): Place {
    if (key !== "") return this.#named(key);
    return { source: this.#blob, offset: this.form.constants_at + offset, size: length };
  }
}

/** What most often comes in a program's place. */
const OTHERS: [RegExp, string][] = [
  // A program may begin with "<", too.
  [/^\s*<(!doctype|html|head|\?xml)/i, "a web page (HTML): is the address right?"],
  [/^\x89PNG/, "a PNG image"],
  [/^version https:\/\/git-lfs/, "a pointer of Git LFS: fetch the file that it stands for (git lfs pull)"],
  [/^PK\W\W/, "a zip archive"],
  [/^GGUF/, "a GGUF file"],
];
const PROGRAM: (typeof OTHERS)[number] = [/^.{4}ET12/s, "a program (.pte)"];
const DATA: (typeof OTHERS)[number] = [/^.{4}FT01/s, "tensor data (.ptd)"];

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
    const begin = String.fromCharCode(...(await readHead(source, 32, signal)));
    const others = [...OTHERS, kind === FileKind.data ? PROGRAM : DATA];
    const other = others.find(([pattern]) => pattern.test(begin));
    const why = other === undefined ? errorText(error) : `it is ${other[1]}`;
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
