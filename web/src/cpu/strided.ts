/** Tensors' elements in other orders. */
import { elementCount, type TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";

export function stridesOf(sizes: readonly number[]): number[] {
  const out = new Array<number>(sizes.length);
  let stride = 1;
  for (let d = sizes.length - 1; d >= 0; --d) {
    out[d] = stride;
    stride *= sizes[d];
  }
  return out;
}

/** A dimension that may count from the end; a tensor without any has one of size 1 here. */
export function dimension(at: number, rank: number): number {
  const least = Math.max(rank, 1);
  if (!(at >= -least && at < least)) throw new ModelError(`there is no dimension ${at}: the rank is ${rank}`);
  return at < 0 ? at + least : at;
}

/** Where each element of a view lies, for each row of its last dimension: `row` hears its place in order and its offset. */
export function eachRow(
  sizes: readonly number[],
  strides: readonly number[],
  offset: number,
  row: (at: number, offset: number) => void,
): void {
  const last = sizes.length - 1;
  const width = sizes[last] ?? 1;
  const count = elementCount(sizes);
  const index = new Array<number>(sizes.length).fill(0);
  for (let at = 0; at < count; at += width) {
    row(at, offset);
    for (let d = last - 1; d >= 0; --d) {
      offset += strides[d];
      if (++index[d] < sizes[d]) break;
      offset -= strides[d] * sizes[d];
      index[d] = 0;
    }
  }
}

/** A view's elements in order. */
export function gather<T extends TypedArray>(
  data: T,
  sizes: readonly number[],
  strides: readonly number[],
  offset = 0,
): T {
  const out = emptyLike(data, elementCount(sizes));
  const last = sizes.length - 1;
  const width = sizes[last] ?? 1;
  const step = strides[last] ?? 1;
  eachRow(sizes, strides, offset, (at, from) => {
    if (step === 1 && width > 8) out.set(data.subarray(from, from + width) as never, at);
    else for (let i = 0; i < width; ++i) out[at + i] = data[from + i * step];
  });
  return out;
}

/** The reverse of gather: writes elements in order to where a view has them. */
export function spread(
  out: TypedArray,
  data: TypedArray,
  sizes: readonly number[],
  strides: readonly number[],
  offset = 0,
): void {
  const last = sizes.length - 1;
  const width = sizes[last] ?? 1;
  const step = strides[last] ?? 1;
  eachRow(sizes, strides, offset, (at, to) => {
    for (let i = 0; i < width; ++i) out[to + i * step] = data[at + i];
  });
}

/** Offsets of a view's elements in order. */
export function offsetsOf(sizes: readonly number[], strides: readonly number[]): Float64Array {
  const out = new Float64Array(elementCount(sizes));
  const last = sizes.length - 1;
  const width = sizes[last] ?? 1;
  eachRow(sizes, strides, 0, (at, from) => {
    for (let i = 0; i < width; ++i) out[at + i] = from + i * (strides[last] ?? 1);
  });
  return out;
}

export function broadcastSizes(...all: (readonly number[])[]): number[] {
  const rank = Math.max(...all.map((sizes) => sizes.length));
  return Array.from({ length: rank }, (_, d) => {
    const met = all.map((sizes) => sizes[d - rank + sizes.length] ?? 1);
    const size = met.find((one) => one !== 1) ?? 1;
    if (met.some((one) => one !== 1 && one !== size))
      throw new ModelError(`sizes ${all.map((sizes) => `[${sizes}]`).join(" and ")} do not go together`);
    return size;
  });
}

const emptyLike = <T extends TypedArray>(data: T, count: number): T =>
  new (data.constructor as new (count: number) => T)(count);

/** Elements repeated to larger sizes; the same array where those are its own. */
export function broadcast<T extends TypedArray>(data: T, from: readonly number[], to: readonly number[]): T {
  const added = to.length - from.length;
  const fits = added >= 0 && from.every((size, d) => size === 1 || size === to[d + added]);
  if (!fits) throw new ModelError(`sizes [${from}] cannot become [${to}]`);
  const count = elementCount(to);
  if (data.length === count) return data;
  if (data.length === 1) return emptyLike(data, count).fill(data[0] as never) as T;
  const own = stridesOf(from);
  const strides = to.map((_, d) => ((from[d - added] ?? 1) === 1 ? 0 : own[d - added]));
  return gather(data, to, strides);
}
