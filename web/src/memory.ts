/** A model's buffers on the GPU. */
import type { ModelForm, PackedForm, Space } from "./forms.ts";
import type { Gpu } from "./gpu.ts";

export interface Range {
  buffer: GPUBuffer;
  offset: number;
}

const STORAGE = 0x80 | 0x8 | 0x4; // GPUBufferUsage.STORAGE | COPY_DST | COPY_SRC
const POOL_BYTES = 256 << 20; // every device has buffers of so many bytes

export class ModelMemory {
  readonly #gpu: Gpu;
  #slots: GPUBuffer[] = [];
  #pools: GPUBuffer[] = [];
  #constants: Range[] = [];
  #states: GPUBuffer[] = [];
  #scalars: GPUBuffer | undefined;
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
    const buffer = await this.#gpu.buffer(what, Math.max(size, 16), usage);
    this.#bytes += buffer.size;
    return buffer;
  }

  /** States and scalars, whose number is known from the start. */
  async create(form: ModelForm): Promise<void> {
    for (const [i, { bytes }] of form.states.entries())
      this.#states.push(await this.#make(`state ${i}`, bytes, STORAGE));
    if (form.scalars === 0) return;
    const bytes = form.scalars * this.#gpu.capabilities.uniform_alignment;
    this.#scalars = await this.#make("live scalars", bytes, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
  }

  /** Places for constants that are new; several share a buffer. Gives the number of the first. */
  async addConstants(constants: readonly PackedForm[]): Promise<number> {
    const first = this.#constants.length;
    for (let i = first; i < constants.length; ) {
      const offsets: number[] = [];
      let end = 0;
      for (; i + offsets.length < constants.length; ) {
        const { bytes } = constants[i + offsets.length];
        const offset = roundUp(end, this.#gpu.capabilities.storage_alignment);
        if (offset > 0 && offset + bytes > POOL_BYTES) break;
        offsets.push(offset);
        end = offset + bytes;
      }
      const buffer = await this.#make(`constants ${i} to ${i + offsets.length - 1}`, end, STORAGE);
      this.#pools.push(buffer);
      for (const offset of offsets) this.#constants.push({ buffer, offset });
      i += offsets.length;
    }
    return first;
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
        return { buffer: this.#slots[index], offset: 0 };
    }
  }

  dispose(): void {
    for (const buffer of [...this.#slots, ...this.#pools, ...this.#states]) buffer.destroy();
    this.#scalars?.destroy();
    this.#bytes = 0;
  }
}

const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;
