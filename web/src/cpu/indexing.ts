/** Kernels that read and write where tensors of indices say. */
import { elementCount, isFloating, type TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";
import { halfToFloat } from "../half.ts";
import { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import { cast, scalarArray } from "./dtypes.ts";
import { broadcast, broadcastSizes, dimension, gather, offsetsOf, spread, stridesOf } from "./strided.ts";

/** Index `at` of a dimension, which may count from its end where `wraps`. */
function placed(at: number | bigint, size: number, dim: number, wraps = true): number {
  const place = Number(at);
  if (!(place >= (wraps ? -size : 0) && place < size))
    throw new ModelError(`index ${at} is out of range of dimension ${dim}, whose size is ${size}`);
  return place < 0 ? place + size : place;
}

function checkIndices({ dtype }: Tensor): void {
  if (isFloating(dtype)) throw new ModelError(`indices are ${dtype}`);
}

/** A mask as the indices of its true elements, dimension by dimension. */
function maskIndices(mask: Tensor): { data: Float64Array; sizes: number[] }[] {
  const found: number[] = [];
  for (let i = 0; i < mask.data.length; ++i) if (mask.data[i]) found.push(i);
  const strides = stridesOf(mask.sizes);
  return mask.sizes.map((size, d) => ({
    data: Float64Array.from(found, (at) => Math.floor(at / strides[d]) % size),
    sizes: [found.length],
  }));
}

/** What x[indices] is, as offsets into x: one from each of the lists, the last changing fastest. */
function selection(
  x: Tensor,
  indices: readonly (Tensor | undefined)[],
): { lists: Float64Array[]; sizes: number[] } {
  const given: { dim: number; data: TypedArray | Float64Array; sizes: readonly number[] }[] = [];
  let dim = 0;
  for (const one of indices) {
    if (one === undefined) ++dim;
    else if (one.dtype === "bool" || one.dtype === "uint8") {
      if (one.sizes.some((size, i) => size !== x.sizes[dim + i]))
        throw new ModelError(`a mask of sizes [${one.sizes}] does not fit dimension ${dim} of [${x.sizes}]`);
      for (const each of maskIndices(one)) given.push({ dim: dim++, ...each });
    } else {
      checkIndices(one);
      given.push({ dim: dim++, data: one.data, sizes: one.sizes });
    }
  }
  if (dim > x.sizes.length) throw new ModelError(`${dim} indices are too many for sizes [${x.sizes}]`);
  const strides = stridesOf(x.sizes);
  const chosen = given.length === 0 ? [] : broadcastSizes(...given.map(({ sizes }) => sizes));
  const offsets = new Float64Array(elementCount(chosen));
  for (const { dim: d, data, sizes } of given) {
    const all = broadcast(data as TypedArray, sizes, chosen);
    for (let i = 0; i < offsets.length; ++i) offsets[i] += placed(all[i], x.sizes[d], d) * strides[d];
  }
  // Indexed dimensions become one in place where they are neighbours, else they come first.
  const indexed = new Set(given.map(({ dim: d }) => d));
  const first = given[0]?.dim ?? 0;
  const together = given.every(({ dim: d }, i) => d === first + i);
  const rest = [...x.sizes.keys()].filter((d) => !indexed.has(d));
  const before = together ? rest.filter((d) => d < first) : [];
  const after = rest.filter((d) => !before.includes(d));
  const part = (dims: number[]): Float64Array =>
    offsetsOf(
      dims.map((d) => x.sizes[d]),
      dims.map((d) => strides[d]),
    );
  return {
    lists: [part(before), offsets, part(after)],
    sizes: [...before.map((d) => x.sizes[d]), ...chosen, ...after.map((d) => x.sizes[d])],
  };
}

/** `use` hears the place in order and the offset into x. */
function eachSelected(
  [before, offsets, after]: Float64Array[],
  use: (at: number, offset: number) => void,
): void {
  let at = 0;
  for (const a of before) for (const b of offsets) for (const c of after) use(at++, a + b + c);
}

function indexed(c: KernelCall): void {
  const x = c.tensor(0);
  const { lists, sizes } = selection(x, c.optionals(1));
  const result = c.make(2, sizes, x.dtype);
  eachSelected(lists, (at, offset) => {
    result[at] = x.data[offset];
  });
  c.give(2, sizes, result, x.dtype);
}

function indexPut(c: KernelCall): void {
  const [x, values] = [c.tensor(0), c.tensor(2)];
  const { lists, sizes } = selection(x, c.optionals(1));
  const source = broadcast(cast(values.data, values.dtype, x.dtype), values.sizes, sizes);
  const accumulates = c.flag(3);
  write(c, -1, x, accumulates, (result, put) =>
    eachSelected(lists, (at, offset) => put(result, offset, source[at])),
  );
}

type Put = (result: TypedArray, at: number, value: number | bigint) => void;

/** Output `out` is x but for what `fill` puts there. */
function write(
  c: KernelCall,
  out: number,
  x: Tensor,
  adds: boolean,
  fill: (result: TypedArray, put: Put) => void,
): void {
  c.fit(out, x.sizes);
  const wideHalf = adds && x.dtype === "float16";
  const result = wideHalf ? cast(x.data, x.dtype, "float32") : x.data.slice();
  fill(result, (into, at, value) => {
    const added = wideHalf ? halfToFloat(value as number) : (value as number);
    into[at] = (adds ? (into[at] as number) + added : value) as never;
  });
  c.give(out, x.sizes, result, wideHalf ? "float32" : x.dtype);
}

/** Where each element of an index along `dim` points in a tensor of `sizes`, in the index's order. */
function alongOffsets(index: Tensor, x: Tensor, dim: number): Float64Array {
  checkIndices(index);
  const [own, sizes] = [atLeastOne(index), atLeastOne(x)];
  if (own.length !== sizes.length || own.some((size, d) => d !== dim && size > sizes[d]))
    throw new ModelError(`an index of sizes [${index.sizes}] does not fit [${x.sizes}] in dimension ${dim}`);
  const strides = stridesOf(sizes);
  const out = offsetsOf(own, strides.with(dim, 0));
  for (let i = 0; i < out.length; ++i) out[i] += placed(index.data[i], sizes[dim], dim, false) * strides[dim];
  return out;
}

/** Dimensions, of which a single number has one here. */
const atLeastOne = ({ sizes }: Tensor): readonly number[] => (sizes.length === 0 ? [1] : sizes);

function gathered(c: KernelCall): void {
  const [x, index] = [c.tensor(0), c.tensor(2)];
  const dim = dimension(c.int(1), x.sizes.length);
  const result = c.make(4, index.sizes, x.dtype);
  if (result.length > 0)
    alongOffsets(index, x, dim).forEach((offset, i) => {
      result[i] = x.data[offset];
    });
  c.give(4, index.sizes, result, x.dtype);
}

/** The elements of `source` that an index of such sizes has to do with, in the index's order. */
function corner(source: Tensor, index: Tensor, x: Tensor): TypedArray {
  const [own, sizes] = [atLeastOne(source), atLeastOne(index)];
  if (own.length !== sizes.length || sizes.some((size, d) => size > own[d]))
    throw new ModelError(`[${source.sizes}] has too little for an index of sizes [${index.sizes}]`);
  return gather(cast(source.data, source.dtype, x.dtype), sizes, stridesOf(own));
}

/** `values` gives what is written for each element of the index. */
function scattered(c: KernelCall, adds: boolean, values: (index: Tensor, x: Tensor) => TypedArray): void {
  const [x, index] = [c.tensor(0), c.tensor(2)];
  const dim = dimension(c.int(1), x.sizes.length);
  const isEmpty = index.data.length === 0;
  const offsets = isEmpty ? new Float64Array(0) : alongOffsets(index, x, dim);
  const given = isEmpty ? x.data : values(index, x);
  write(c, 4, x, adds, (result, put) =>
    offsets.forEach((offset, i) => {
      put(result, offset, given[i]);
    }),
  );
}

/** Rows of `x` along `dim`, as an index says. */
function rows(
  c: KernelCall,
  out: number,
  x: Tensor,
  dim: number,
  index: Tensor,
  sizes: number[],
  wraps: boolean,
): void {
  checkIndices(index);
  const result = c.make(out, sizes, x.dtype);
  const inner = elementCount(x.sizes.slice(dim + 1));
  const outer = elementCount(x.sizes.slice(0, dim));
  const size = x.sizes[dim] ?? 1;
  let at = 0;
  for (let o = 0; o < outer; ++o)
    for (let i = 0; i < index.data.length; ++i) {
      const from = (o * size + placed(index.data[i], size, dim, wraps)) * inner;
      result.set(x.data.subarray(from, from + inner) as never, at);
      at += inner;
    }
  c.give(out, sizes, result, x.dtype);
}

/** Places of what is not zero, a row for each. */
function nonzero(c: KernelCall): void {
  const x = c.tensor(0);
  const found = maskIndices(Tensor.of(cast(x.data, x.dtype, "bool"), x.sizes, "bool"));
  const rank = found.length;
  const count = rank > 0 ? found[0].data.length : Number(x.data.length > 0 && Number(x.data[0]) !== 0);
  const out = c.make(1, [count, rank], "int64");
  for (const [d, { data }] of found.entries())
    for (let i = 0; i < count; ++i) out[i * rank + d] = BigInt(data[i]);
  c.give(1, [count, rank], out, "int64");
}

export const INDEXING: Record<string, Kernel> = {
  "aten::nonzero.out": nonzero,
  "aten::index.Tensor_out": indexed,
  "aten::index_put.out": indexPut,
  "aten::index_put_": indexPut,
  "aten::gather.out": gathered,
  "aten::scatter.src_out": (c) => scattered(c, false, (index, x) => corner(c.tensor(3), index, x)),
  "aten::scatter.value_out": (c) =>
    scattered(c, false, (index, x) => broadcast(scalarArray(c.scalar(3), x.dtype), [], [index.data.length])),
  "aten::scatter_add.out": (c) => scattered(c, true, (index, x) => corner(c.tensor(3), index, x)),
  "aten::index_select.out": (c) => {
    const [x, index] = [c.tensor(0), c.tensor(2)];
    const dim = dimension(c.int(1), x.sizes.length);
    rows(c, 3, x, dim, index, x.sizes.length === 0 ? [] : x.sizes.with(dim, index.data.length), false);
  },
  "aten::embedding.out": (c) => {
    const [weight, index] = [c.tensor(0), c.tensor(1)];
    rows(c, 5, weight, 0, index, [...index.sizes, ...weight.sizes.slice(1)], false);
  },
  "executorch_prim::et_copy_index.tensor": (c) => {
    const [x, item, at] = [c.tensor(0), c.tensor(1), c.int(2)];
    if (!(at >= 0)) throw new ModelError(`index ${at} is negative`);
    const sizes = [c.out(0).dynamic ? at + 1 : x.sizes[0], ...item.sizes];
    if (!(at < sizes[0]))
      throw new ModelError(`index ${at} is out of range of dimension 0, whose size is ${sizes[0]}`);
    const data = c.make(0, sizes, x.dtype);
    data.set(x.data.subarray(0, data.length) as never);
    spread(
      data,
      cast(item.data, item.dtype, x.dtype),
      item.sizes,
      stridesOf(item.sizes),
      at * item.data.length,
    );
    c.give(0, sizes, data, x.dtype);
  },
};
