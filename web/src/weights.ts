/**
 * Constants to the GPU: read in the files' order, packed window by window, and gone from the host as soon as
 * they are queued.
 */
import { ModelError } from "./errors.ts";
import { type ConstantForm, type PackedForm, type PartForm, sourcesOf } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { PackingWindow, PlannedModel } from "./planned_model.ts";
import { type ByteSource, openLocal, read } from "./source.ts";
import { breathe } from "./tasks.ts";

/** Where a constant's bytes are. */
export interface Place {
  source: ByteSource;
  offset: number;
  size: number;
}

export interface UploadTarget {
  state: boolean;
  index: number;
  form: PackedForm;
  buffer: GPUBuffer;
  offset: number;
}

const WINDOW_BYTES = 4 << 20;
const IN_FLIGHT_BYTES = 64 << 20;
// Fetching what lies between is quicker than another request.
const GAP_BYTES = 1 << 18;
const SMALL_GAP_BYTES = 1 << 14;

/** A window, and where its first source is, which brings most of its bytes. */
interface Task extends Place {
  target: UploadTarget;
  window: PackingWindow;
  others: Others;
}

/** A part's other sources, scales and zero points: they are read whole with its first window. */
interface Others {
  places: readonly Place[];
  bytes?: Promise<Uint8Array[]>;
}

/** `places` finds a constant's bytes; `progress` hears how many bytes of the files have been read. */
export async function upload(
  gpu: Gpu,
  model: PlannedModel,
  targets: readonly UploadTarget[],
  places: (constant: ConstantForm) => Place,
  progress: (bytes: number) => void = () => {},
  signal?: AbortSignal,
): Promise<void> {
  if (targets.length === 0) return;
  let queued = 0;
  for (const run of runs(tasksOf(model, targets, places), GAP_BYTES)) {
    const reader = new RunReader(run, progress, signal);
    try {
      for (const { target, window, offset, size, others } of run.uses) {
        await reader.reach(offset, size);
        others.bytes ??= readAll(others.places, progress, signal);
        const rest = await others.bytes;
        const packed = model.pack(target.state, target.index, WINDOW_BYTES, window, (out) => {
          reader.copy(offset, size, out);
          let at = size;
          rest.forEach((bytes, i) => {
            const range = window.ranges[i + 1];
            out.set(bytes.subarray(range.offset, range.offset + range.size), at);
            at += range.size;
          });
        });
        // Fresh buffers hold zeros already.
        if (!isZero(packed)) write(gpu.device.queue, target, window, packed);
        queued += packed.byteLength;
        if (queued > IN_FLIGHT_BYTES) {
          await gpu.device.queue.onSubmittedWorkDone();
          queued = 0;
        }
        await breathe();
        signal?.throwIfAborted();
        gpu.check();
      }
    } finally {
      await reader.close();
    }
  }
  await gpu.device.queue.onSubmittedWorkDone();
  gpu.check();
}

function readAll(
  places: readonly Place[],
  progress: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<Uint8Array[]> {
  return Promise.all(
    places.map(async ({ source, offset, size }) => {
      const bytes = await read(source, offset, size, signal);
      progress(size);
      return bytes;
    }),
  );
}

function write(
  queue: GPUQueue,
  { buffer, offset }: UploadTarget,
  window: PackingWindow,
  packed: Uint8Array<ArrayBuffer>,
): void {
  const bytes = window.size / window.pieces;
  for (let i = 0; i < window.pieces; ++i)
    queue.writeBuffer(buffer, offset + window.offset + i * window.stride, packed, i * bytes, bytes);
}

/** Bytes of the files that these targets are made of. */
export function sourceBytes(
  model: PlannedModel,
  targets: readonly UploadTarget[],
  places: (constant: ConstantForm) => Place,
): number {
  const tasks = tasksOf(model, targets, places);
  const others = [...new Set(tasks.map((task) => task.others))].flatMap(({ places }) => places);
  return (
    runs(tasks, GAP_BYTES).reduce((sum, run) => sum + run.end - run.begin, 0) +
    others.reduce((sum, { size }) => sum + size, 0)
  );
}

function tasksOf(
  model: PlannedModel,
  targets: readonly UploadTarget[],
  places: (constant: ConstantForm) => Place,
): Task[] {
  return targets.flatMap((target) => {
    const found = target.form.parts.map((part) => placesOf(part, places));
    return model.windows(target.state, target.index, WINDOW_BYTES).map((window) => {
      const [{ source, offset }, others] = found[window.part];
      const { offset: begin, size } = window.ranges[0] ?? NOTHING;
      return { target, window, source, offset: offset + begin, size, others };
    });
  });
}

// Where a part of one number has its bytes.
const NOTHING: Place = { source: openLocal(new Uint8Array(0)), offset: 0, size: 0 };

function placesOf(part: PartForm, places: (constant: ConstantForm) => Place): [Place, Others] {
  const [first = NOTHING, ...rest] = sourcesOf(part).map((constant) => {
    const { source, offset, size } = places(constant);
    if (size < constant.bytes)
      throw new ModelError(
        `weight '${constant.key}' has ${size} bytes, but the graph needs ${constant.bytes}`,
      );
    return { source, offset, size: constant.bytes };
  });
  return [first, { places: rest }];
}

/** A range that is read in one go, and what it is for, in its order. */
interface Run<Use extends { source: ByteSource; offset: number }> {
  source: ByteSource;
  begin: number;
  end: number;
  uses: Use[];
}

/** Neighbours in one file, in its order, as one range, which is one request. */
export function runs<Use extends { source: ByteSource; offset: number; size: number }>(
  uses: readonly Use[],
  gap: number,
): Run<Use>[] {
  const out: Run<Use>[] = [];
  for (const source of new Set(uses.map((use) => use.source))) {
    const own = uses.filter((use) => use.source === source).sort((a, b) => a.offset - b.offset);
    let run: Run<Use> | undefined;
    for (const use of own) {
      const end = use.offset + use.size;
      if (run === undefined || use.offset > run.end + gap) {
        run = { source, begin: use.offset, end, uses: [] };
        out.push(run);
      }
      run.uses.push(use);
      run.end = Math.max(run.end, end);
    }
  }
  return out;
}

/** All of several small places, in few requests. */
export async function readPlaces(places: readonly Place[], signal?: AbortSignal): Promise<Uint8Array[]> {
  const found = new Map<Place, Uint8Array>();
  const reads = runs(places, SMALL_GAP_BYTES).map(async ({ source, begin, end, uses }) => {
    const bytes = await read(source, begin, end - begin, signal);
    for (const use of uses) found.set(use, bytes.subarray(use.offset - begin, use.offset - begin + use.size));
  });
  await Promise.all(reads);
  return places.map((place) => found.get(place)!);
}

// A run's bytes as they come; what lies before the last reached offset is forgotten.
class RunReader {
  readonly #stream: AsyncIterator<Uint8Array>;
  readonly #progress: (bytes: number) => void;
  #pieces: Uint8Array[] = [];
  #begin: number;
  #end: number;

  constructor(run: Run<Task>, progress: (bytes: number) => void, signal?: AbortSignal) {
    this.#stream = run.source.stream(run.begin, run.end - run.begin, signal)[Symbol.asyncIterator]();
    this.#progress = progress;
    this.#begin = run.begin;
    this.#end = run.begin;
  }

  async reach(offset: number, length: number): Promise<void> {
    while (this.#pieces.length > 0 && this.#begin + this.#pieces[0].byteLength <= offset)
      this.#begin += this.#pieces.shift()!.byteLength;
    while (this.#end < offset + length) {
      const { value, done } = await this.#stream.next();
      if (done)
        throw new ModelError(`bytes up to ${offset + length} were expected, but they end at ${this.#end}`);
      this.#pieces.push(value);
      this.#end += value.byteLength;
      this.#progress(value.byteLength);
    }
  }

  copy(offset: number, length: number, out: Uint8Array): void {
    let begin = this.#begin;
    for (const piece of this.#pieces) {
      const from = Math.max(offset, begin);
      const to = Math.min(offset + length, begin + piece.byteLength);
      if (from < to) out.set(piece.subarray(from - begin, to - begin), from - offset);
      begin += piece.byteLength;
    }
  }

  async close(): Promise<void> {
    await this.#stream.return?.();
  }
}

function isZero(bytes: Uint8Array<ArrayBuffer>): boolean {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  for (let i = 0; i < words.length; ++i) if (words[i] !== 0) return false;
  return true;
}
