/**
 * What a runner needs of a delegate: plans for its calls, and its constants as the GPU wants them. The planner in
 * the page has them (core.ts), or a file that was compiled ahead of time (compiled_model.ts).
 */
import type { Capabilities, Match, ModelForm, PlanForm } from "./forms.ts";

/** One input of a call, as far as plans depend on it. */
export interface LiveInput {
  sizes: readonly number[];
  scalar: number;
  /** Where the model wants them. */
  elements?: Int32Array;
}

/**
 * A stretch of a packed constant: so many pieces of one size, which begin `stride` bytes apart. It is made of the
 * few bytes in `ranges`, one of each of the part's sources (sourcesOf).
 */
export interface PackingWindow {
  number: number;
  offset: number;
  size: number;
  part: number;
  pieces: number;
  stride: number;
  ranges: readonly { offset: number; size: number }[];
}

/** A value that a program passes to a delegate: of tensors the live sizes. */
export interface PassedValue {
  id: number;
  dtype?: string;
  sizes?: readonly number[];
}

export interface PlannedModel {
  readonly form: ModelForm;
  /** As it is now: constants come into being while plans are made. */
  describe(): ModelForm;
  dispose(): void;

  /** Which of a call's values are which of the graph's. */
  match(values: PassedValue[], aliased: boolean): Match;
  /** The number of the plan for these inputs; the same number means the same plan. */
  prepare(inputs: readonly LiveInput[], wideIntegers: boolean): number;
  /** Of the plan prepared last. */
  plan(): PlanForm;
  uniforms(): Uint8Array;
  /** WGSL. */
  kernel(index: number, dialect: Capabilities["dialect"]): string;

  /** Values of live scalars by slot, until the next call. */
  scalars(): Int32Array;
  /** The value of an integer of the graph, by its number there. */
  scalarOf(value: number): number;

  /** What a constant, or a state's first content, is made of, in windows of at most `most` bytes or a little more. */
  windows(state: boolean, index: number, most: number): PackingWindow[];
  /** A window's bytes, valid until the next call; `fill` writes its ranges, one after the other. */
  pack(
    state: boolean,
    index: number,
    most: number,
    window: PackingWindow,
    fill: (sources: Uint8Array) => void,
  ): Uint8Array<ArrayBuffer>;
}
