/** Tensors: elements on the host, or kept on the GPU to feed the next call without a readback. */
import { arrayOf, dtypeOf, elementCount, load, storageBytes, store, type TypedArray } from "./elements.ts";
import { ModelError } from "./errors.ts";
import type { DType, Storage } from "./forms.ts";
import type { Gpu } from "./gpu.ts";

/** Where a kept tensor lies. */
export interface OnGpu {
  gpu: Gpu;
  buffer: GPUBuffer;
  storage: Storage;
}

export class Tensor {
  readonly dtype: DType;
  readonly sizes: readonly number[];
  #data: TypedArray | undefined;
  #kept: OnGpu | undefined;

  private constructor(dtype: DType, sizes: readonly number[], data?: TypedArray, kept?: OnGpu) {
    this.dtype = dtype;
    this.sizes = sizes;
    this.#data = data;
    this.#kept = kept;
  }

  /** `dtype` is what the data's type says unless it is given: bool and f16 share arrays with others. */
  static of(data: TypedArray | readonly number[], sizes: readonly number[], dtype?: DType): Tensor {
    const type = dtype ?? dtypeOf(data, "float32");
    const elements = isNumbers(data) ? arrayOf(type, data) : data;
    if (elements.length !== elementCount(sizes))
      throw new ModelError(
        `sizes [${sizes}] have ${elementCount(sizes)} elements, but ${elements.length} were given`,
      );
    return new Tensor(type, [...sizes], elements);
  }
  static kept(dtype: DType, sizes: readonly number[], on: OnGpu): Tensor {
    return new Tensor(dtype, sizes, undefined, on);
  }

  /** The elements, if they are on the host. */
  get data(): TypedArray {
    if (this.#data === undefined) throw new ModelError("the tensor is on the GPU: read() fetches it");
    return this.#data;
  }
  get onGpu(): OnGpu | undefined {
    return this.#kept;
  }

  /** The elements, fetched from the GPU if that is where they are. */
  async read(): Promise<TypedArray> {
    if (this.#data !== undefined) return this.#data;
    if (this.#kept === undefined) throw new ModelError("the tensor has been disposed of");
    const { gpu, buffer, storage } = this.#kept;
    gpu.check();
    const count = elementCount(this.sizes);
    const bytes = storageBytes(storage, count);
    const staging = await gpu.buffer(
      "staging for a tensor",
      Math.max(bytes, 4),
      GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    );
    try {
      const copied = gpu.submit("the copy of a tensor", (encoder) =>
        encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes),
      );
      await Promise.all([copied, staging.mapAsync(GPUMapMode.READ)]);
      return load(new Uint8Array(staging.getMappedRange(0, bytes)), count, storage, this.dtype);
    } finally {
      staging.destroy();
    }
  }

  /** Gives a kept tensor's memory back. */
  dispose(): void {
    this.#kept?.buffer.destroy();
    this.#kept = undefined;
  }

  /** Elements as the GPU stores them. */
  stored(what: string, storage: Storage): Uint8Array<ArrayBuffer> {
    return store(what, this.dtype, this.data, storage);
  }
}

function isNumbers(data: TypedArray | readonly number[]): data is readonly number[] {
  return Array.isArray(data);
}
