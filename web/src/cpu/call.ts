/** A kernel's call: its arguments, and where its outputs go. */
import { ARRAYS, elementCount, type TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { DType } from "../forms.ts";
import { Tensor } from "../tensor.ts";
import { cast, type Scalar } from "./dtypes.ts";

/** A value while a program runs: integers are bigints, which tells them from floats. */
export type Value = Tensor | Scalar | string | null | number[] | boolean[];

/** A tensor that an output is recorded as, upper bounds where dynamic. */
export interface Recorded {
  dtype: DType;
  sizes: readonly number[];
  dynamic: boolean;
}

/** Elements of tensors are never written once they are there: values may share them. */
export type Kernel = (call: KernelCall) => void;

export interface Frame {
  /** The value with this number, whose tensors are on the host. */
  value(id: number): Value;
  recorded(id: number): Recorded;
  /** Of a list: the numbers of its items. */
  items(id: number): readonly number[];
  set(id: number, value: Value): void;
}

export class KernelCall {
  readonly #frame: Frame;
  readonly #ids: readonly number[];

  constructor(frame: Frame, ids: readonly number[]) {
    this.#frame = frame;
    this.#ids = ids;
  }

  get count(): number {
    return this.#ids.length;
  }
  #id(i: number): number {
    const id = this.#ids.at(i);
    if (id === undefined) throw new ModelError(`it has ${this.count} arguments, but ${i + 1} are needed`);
    return id;
  }
  value(i: number): Value {
    return this.#frame.value(this.#id(i));
  }

  tensor(i: number): Tensor {
    return tensorOf(this.value(i), `argument ${i}`);
  }
  optional(i: number): Tensor | undefined {
    return this.value(i) === null ? undefined : this.tensor(i);
  }
  /** Of a list. */
  optionals(i: number): (Tensor | undefined)[] {
    return this.#frame.items(this.#id(i)).map((id, n) => {
      const value = id < 0 ? null : this.#frame.value(id);
      return value === null ? undefined : tensorOf(value, `item ${n} of argument ${i}`);
    });
  }
  tensors(i: number): Tensor[] {
    return this.optionals(i).map((item) => tensorOf(item ?? null, `an item of argument ${i}`));
  }
  scalar(i: number): Scalar {
    const value = this.value(i);
    if (typeof value === "bigint" || typeof value === "number" || typeof value === "boolean") return value;
    throw new ModelError(`argument ${i} is no number`);
  }
  number(i: number): number {
    return Number(this.scalar(i));
  }
  /** Sizes, dimensions and the like; none where there may be none. */
  int(i: number, unless?: number): number {
    const value = this.value(i);
    if (value === null && unless !== undefined) return unless;
    if (typeof value !== "bigint") throw new ModelError(`argument ${i} is no integer`);
    return Number(value);
  }
  flag(i: number): boolean {
    return Boolean(this.scalar(i));
  }
  text(i: number): string | undefined {
    const value = this.value(i);
    return typeof value === "string" ? value : undefined;
  }
  /** Of a list; undefined for none. */
  optionalInts(i: number): number[] | undefined {
    if (this.value(i) === null) return undefined;
    return this.#frame.items(this.#id(i)).map((id) => {
      const value = id < 0 ? null : this.#frame.value(id);
      if (typeof value !== "bigint") throw new ModelError(`an item of argument ${i} is no integer`);
      return Number(value);
    });
  }
  ints(i: number): number[] {
    return this.optionalInts(i) ?? [];
  }

  /** What output `i` is recorded as; negative numbers count from the last argument. */
  out(i: number): Recorded {
    return this.#frame.recorded(this.#id(i));
  }
  /** Throws where an output cannot have these sizes. */
  fit(i: number, sizes: readonly number[]): void {
    checkFits("its output", this.out(i), sizes);
  }
  /** An output that kernels fill before they give() it, once its sizes are known to fit. */
  make<T extends DType>(i: number, sizes: readonly number[], dtype: T): InstanceType<(typeof ARRAYS)[T]> {
    this.fit(i, sizes);
    return allocated(sizes, dtype);
  }
  /** Output `i`, cast to what it is recorded as. */
  give(i: number, sizes: readonly number[], data: TypedArray, dtype: DType): void {
    this.#give(this.#id(i), sizes, data, dtype);
  }
  /** Item `n` of a list of outputs. */
  giveItem(i: number, n: number, sizes: readonly number[], data: TypedArray, dtype: DType): void {
    const id = this.#frame.items(this.#id(i))[n];
    if (id === undefined) throw new ModelError(`its outputs are fewer than ${n + 1}`);
    this.#give(id, sizes, data, dtype);
  }
  #give(id: number, sizes: readonly number[], data: TypedArray, dtype: DType): void {
    const recorded = this.#frame.recorded(id);
    checkFits("its output", recorded, sizes);
    this.#frame.set(id, Tensor.of(cast(data, dtype, recorded.dtype), sizes, recorded.dtype));
  }
  /** Output `i`, a number. */
  set(i: number, value: Scalar): void {
    this.#frame.set(this.#id(i), value);
  }
}

/** Zeros. */
export function allocated<T extends DType>(
  sizes: readonly number[],
  dtype: T,
): InstanceType<(typeof ARRAYS)[T]> {
  try {
    return new ARRAYS[dtype](elementCount(sizes)) as InstanceType<(typeof ARRAYS)[T]>;
  } catch (error) {
    throw new ModelError(`there is no memory for ${dtype} [${sizes}]`, { cause: error });
  }
}

function tensorOf(value: Value, what: string): Tensor {
  if (value instanceof Tensor) return value;
  throw new ModelError(`${what} is no tensor`);
}

/** As ExecuTorch resizes: static tensors keep their sizes, others their rank and no more elements than recorded. */
export function checkFits(what: string, { sizes: bound, dynamic }: Recorded, sizes: readonly number[]): void {
  const fits = dynamic
    ? sizes.length === bound.length && elementCount(sizes) <= elementCount(bound)
    : String(sizes) === String(bound);
  const wanted = dynamic ? `room for [${bound}]` : `[${bound}]`;
  if (!fits) throw new ModelError(`${what} would have sizes [${sizes}], but the program has ${wanted}`);
}
