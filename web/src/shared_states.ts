/** States that several delegates of a program use, as prefill and decode do their caches. */

/** By value of a delegate's graph, the number of the buffer that others use, too. */
export type SharedNumbers = ReadonlyMap<number, number>;

/** By number: whichever delegate comes first makes a buffer, and the others take it. */
export type StateBuffers = Map<number, { buffer: GPUBuffer; packing: string }>;

export interface SharedStates {
  buffers: StateBuffers;
  numbers: SharedNumbers;
}
