/** A model's buffers on the GPU. */
import { ModelError } from "./errors.ts";
import type { Capabilities, ModelForm, PackedForm, Space, StateForm } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { SharedStates } from "./shared_states.ts";

export interface Range {
  buffer: GPUBuffer;
  offset: number;
}

const STORAGE = 0x80 | 0x8 | 0x4; // GPUBufferUsage.STORAGE | COPY_DST | COPY_SRC
const POOL_BYTES = 256 << 20; // every device has buffers of so many bytes
const LEAST_BYTES = 16;

export class ModelMemory {
  readonly #gpu: Gpu;
  #slots: (GPUBuffer | undefined)[] = [];
  #own: GPUBuffer[] = []; // all but slots, and states that are the program's
  #constants: Range[] = [];
  #states: GPUBuffer[] = [];
  #scalars: GPUBuffer | undefined;
  #scalarWords = new Int32Array(0); // as they lie in their buffer, which begins as zeros
  #bytes = 0;
  /** Changes when a buffer does: bind groups made before are void. */
  generation = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async #make(what: string, size: number, usage: GPUBufferUsageFlags): Promise<GPUBuffer> {
    const buffer = await this.#gpu.buffer(what, Math.max(size, LEAST_BYTES), usage);
    this.#bytes += buffer.size;
    return buffer;
  }

  /** States and scalars, whose number is known from the start. Gives the states whose first content has to be written. */
  async create({ states, scalars }: ModelForm, shared?: SharedStates): Promise<number[]> {
    const written: number[] = [];
    for (const [i, state] of states.entries())
      this.#states.push(await this.#state(`state ${i}`, state, shared, () => written.push(i)));
    if (scalars > 0) {
      const bytes = scalars * this.#gpu.capabilities.uniform_alignment;
      this.#scalarWords = new Int32Array(bytes / 4);
      this.#scalars = await this.#make(
        "live scalars",
        bytes,
        GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      );
      this.#own.push(this.#scalars);
    }
    return written;
  }

  async #state(
    what: string,
    { value, packing, bytes }: StateForm,
    shared: SharedStates | undefined,
    isNew: () => void,
  ): Promise<GPUBuffer> {
    const number = shared?.numbers.get(value);
    const made = shared?.buffers.get(number!);
    if (made === undefined) {
      isNew();
      const buffer = await this.#make(what, bytes, STORAGE);
      if (number === undefined) this.#own.push(buffer);
      else shared!.buffers.set(number, { buffer, packing });
      return buffer;
    }
    if (made.packing === packing && made.buffer.size >= bytes) return made.buffer;
    throw new ModelError(
      `${what} is kept as ${packing}, but another method has it as ${made.packing}: use kv_cache_dtype f32`,
    );
  }

  /** Places for constants that are new; several share a buffer. Gives the number of the first. */
  async addConstants(constants: readonly PackedForm[]): Promise<number> {
    const first = this.#constants.length;
    const alignment = this.#gpu.capabilities.storage_alignment;
    for (const { offsets, bytes } of poolsOf(constants.slice(first), alignment)) {
      const i = this.#constants.length;
      const buffer = await this.#make(`constants ${i} to ${i + offsets.length - 1}`, bytes, STORAGE);
      this.#own.push(buffer);
      for (const offset of offsets) this.#constants.push({ buffer, offset });
    }
    return first;
  }

  /** If some are others than before, all in one go: a call of the queue costs more than bytes do. */
  writeScalars(values: Int32Array): void {
    const stride = this.#gpu.capabilities.uniform_alignment / 4;
    const words = this.#scalarWords;
    if (values.every((value, slot) => words[slot * stride] === value)) return;
    values.forEach((value, slot) => {
      words[slot * stride] = value;
    });
    this.#gpu.device.queue.writeBuffer(this.#scalars!, 0, words);
  }

  /** Slots only grow, by half at least, so that a slowly growing input does not make one at every step. */
  async fitSlots(sizes: readonly number[]): Promise<void> {
    for (let i = 0; i < sizes.length; ++i) {
      const old = this.#slots[i];
      if (old !== undefined && old.size >= sizes[i]) continue;
      ++this.generation;
      const roomy = roundUp(Math.max(sizes[i], Math.floor((old?.size ?? 0) * 1.5)), 16);
      this.#bytes -= old?.size ?? 0;
      old?.destroy();
      this.#slots[i] = undefined; // also where there is no memory for another
      const size = roomy <= this.#gpu.device.limits.maxBufferSize ? roomy : sizes[i];
      this.#slots[i] = await this.#make(`activation memory ${i}`, size, STORAGE);
    }
  }

  at(space: Space, index: number): Range {
    switch (space) {
      case "constant":
        return this.#constants[index];
      case "state":
        return { buffer: this.#states[index], offset: 0 };
      case "scalars":
        return { buffer: this.#scalars!, offset: index * this.#gpu.capabilities.uniform_alignment };
      default:
        return { buffer: this.#slots[index]!, offset: 0 };
    }
  }

  dispose(): void {
    for (const buffer of [...this.#slots, ...this.#own]) buffer?.destroy();
    this.#bytes = 0;
  }
}

/** Bytes of a model's buffers. */
export interface BufferSizes {
  constants: number[];
  /** Scalars among them. */
  states: number[];
  activations: number[];
}

/** What ModelMemory will make for a plan with these slots. */
export function bufferSizes(
  { constants, states, scalars }: ModelForm,
  slots: readonly number[],
  { storage_alignment, uniform_alignment }: Capabilities,
): BufferSizes {
  const made = (sizes: readonly number[]): number[] => sizes.map((size) => Math.max(size, LEAST_BYTES));
  return {
    constants: made(poolsOf(constants, storage_alignment).map(({ bytes }) => bytes)),
    states: made([
      ...states.map(({ bytes }) => bytes),
      ...(scalars > 0 ? [scalars * uniform_alignment] : []),
    ]),
    activations: made(slots).map((size) => roundUp(size, LEAST_BYTES)),
  };
}

interface Pool {
  offsets: number[];
  bytes: number;
}

/** Buffers for constants: small ones share one. */
function poolsOf(constants: readonly PackedForm[], alignment: number): Pool[] {
  const pools: Pool[] = [];
  for (const { bytes } of constants) {
    let pool = pools.at(-1);
    let offset = roundUp(pool?.bytes ?? 0, alignment);
    if (pool === undefined || offset + bytes > POOL_BYTES) {
      pool = { offsets: [], bytes: 0 };
      pools.push(pool);
      offset = 0;
    }
    pool.offsets.push(offset);
    pool.bytes = offset + bytes;
  }
  return pools;
}

const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;
