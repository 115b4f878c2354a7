/** States that several delegates of a program use, as prefill and decode do their caches. */
import { ModelError } from "./errors.ts";
import type { StateForm } from "./forms.ts";

/** Of one program: whichever delegate comes first makes a buffer, and the others take it. */
export class StateBuffers {
  readonly #made = new Map<number, { buffer: GPUBuffer; packing: string }>();

  /** The buffer with that number, where it has been made. */
  find(number: number, what: string, { packing, bytes }: StateForm): GPUBuffer | undefined {
    const made = this.#made.get(number);
    if (made !== undefined && (made.packing !== packing || made.buffer.size < bytes))
      throw new ModelError(
        `${what} is kept as ${packing}, but a method that shares it has it as ${made.packing}: load all methods with the option kv_cache_dtype f32`,
      );
    return made?.buffer;
  }
  add(number: number, buffer: GPUBuffer, { packing }: StateForm): void {
    this.#made.set(number, { buffer, packing });
  }

  dispose(): void {
    for (const { buffer } of this.#made.values()) buffer.destroy();
    this.#made.clear();
  }
}

/** By value of a delegate's graph, the number of the buffer that others use, too. */
export type SharedNumbers = ReadonlyMap<number, number>;

export interface SharedStates {
  buffers: StateBuffers;
  numbers: SharedNumbers;
}
