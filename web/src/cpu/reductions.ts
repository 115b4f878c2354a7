/** Kernels that make one of many along dimensions. */
import { elementCount, isFloating, type TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { DType } from "../forms.ts";
import type { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import { cast, type Scalar, scalarArray, wide } from "./dtypes.ts";
import { dimension, gather, stridesOf } from "./strided.ts";

/** A tensor as rows, each of which becomes one element. */
interface Rows {
  data: TypedArray;
  dtype: DType;
  rows: number;
  width: number;
  /** Of the result. */
  sizes: number[];
}

function rowsOf(x: Tensor, dims: readonly number[] | undefined, keeps: boolean, dtype: DType): Rows {
  const rank = x.sizes.length;
  const given = dims === undefined || dims.length === 0 ? [...x.sizes.keys()] : dims;
  const reduced = new Set(given.map((dim) => dimension(dim, rank)));
  if (reduced.size !== given.length) throw new ModelError(`a dimension is named twice in [${given}]`);
  const kept = [...x.sizes.keys()].filter((d) => !reduced.has(d));
  const last = [...x.sizes.keys()].filter((d) => reduced.has(d));
  const strides = stridesOf(x.sizes);
  const order = [...kept, ...last];
  const isInOrder = order.every((d, i) => d === i);
  const data = cast(x.data, x.dtype, dtype);
  return {
    data: isInOrder
      ? data
      : gather(
          data,
          order.map((d) => x.sizes[d]),
          order.map((d) => strides[d]),
        ),
    dtype,
    rows: elementCount(kept.map((d) => x.sizes[d])),
    width: elementCount(last.map((d) => x.sizes[d])),
    sizes: keeps ? x.sizes.map((size, d) => (reduced.has(d) ? 1 : size)) : kept.map((d) => x.sizes[d]),
  };
}

/** A dtype whose elements are numbers as they lie. */
const readableAs = ({ dtype }: Tensor): DType => (dtype === "float16" ? "float32" : dtype);

type Item = number | bigint;

/** `f` sees a row's elements as data[begin] to data[begin + width - 1]. */
function reduce(
  c: KernelCall,
  out: number,
  { data, rows, width, sizes }: Rows,
  gives: DType,
  f: (data: Item[], begin: number, width: number) => Item,
): void {
  const result = c.make(out, sizes, gives);
  for (let r = 0; r < rows; ++r) result[r] = f(data as unknown as Item[], r * width, width) as never;
  c.give(out, sizes, result, gives);
}

/** Place in the row of the element that `beats` all before it; NaN beats all. */
function best(beats: (a: Item, b: Item) => boolean): (data: Item[], begin: number, width: number) => number {
  return (data, begin, width) => {
    if (width === 0) throw new ModelError("there is nothing to choose from");
    let found = begin;
    for (let i = begin + 1; i < begin + width && !Number.isNaN(data[found]); ++i)
      if (Number.isNaN(data[i]) || beats(data[i], data[found])) found = i;
    return found - begin;
  };
}
const largest = best((a, b) => a > b);
const smallest = best((a, b) => a < b);

function truth(data: Item[], begin: number, width: number): number {
  for (let i = begin; i < begin + width; ++i) if (Number(data[i]) !== 0) return 1; // so NaN is true
  return 0;
}

function sum(data: Item[], begin: number, width: number): Item {
  if (typeof data[begin] === "bigint") {
    let total = 0n;
    for (let i = begin; i < begin + width; ++i) total += data[i] as bigint;
    return total;
  }
  let total = 0;
  for (let i = begin; i < begin + width; ++i) total += data[i] as number;
  return total;
}

const oneDim = (c: KernelCall, i: number): number[] => [c.int(i)];
/** All dimensions where none is given. */
const maybeDim = (c: KernelCall, i: number): number[] | undefined =>
  c.value(i) === null ? undefined : oneDim(c, i);

/** Whether any is true; dimensions follow the tensor unless there are none. */
function any(dims: (c: KernelCall) => number[] | undefined, out: number): Kernel {
  return (c) => {
    const x = c.tensor(0);
    reduce(c, out, rowsOf(x, dims(c), out === 3 && c.flag(2), readableAs(x)), "bool", truth);
  };
}

function totals(c: KernelCall, out: number, dims: number[] | undefined, keeps: boolean, mean: boolean): void {
  const x = c.tensor(0);
  const { dtype } = c.out(out);
  // Floats are summed in doubles, whose rounding is nobody's.
  const within: DType = isFloating(dtype) || isFloating(x.dtype) ? "float64" : "int64";
  const rows = rowsOf(x, dims, keeps, within);
  const gives: DType = within;
  reduce(c, out, rows, gives, (data, begin, width) => {
    const total = width === 0 && within === "int64" ? 0n : sum(data, begin, width);
    return mean ? (total as number) / width : total;
  });
}

function extremes(
  c: KernelCall,
  out: number,
  dims: number[] | undefined,
  keeps: boolean,
  choose: typeof largest,
): void {
  const x = c.tensor(0);
  const rows = rowsOf(x, dims, keeps, readableAs(x));
  reduce(c, out, rows, rows.dtype, (data, begin, width) => data[begin + choose(data, begin, width)]);
}

function places(c: KernelCall, choose: typeof largest): void {
  const x = c.tensor(0);
  const rows = rowsOf(x, maybeDim(c, 1), c.flag(2), readableAs(x));
  reduce(c, 3, rows, "int64", (data, begin, width) => BigInt(choose(data, begin, width)));
}

/** Values and their places. */
function withPlaces(c: KernelCall, choose: typeof largest): void {
  const x = c.tensor(0);
  const rows = rowsOf(x, oneDim(c, 1), c.flag(2), readableAs(x));
  reduce(c, 3, rows, rows.dtype, (data, begin, width) => data[begin + choose(data, begin, width)]);
  reduce(c, 4, rows, "int64", (data, begin, width) => BigInt(choose(data, begin, width)));
}

/** Each row as it is, put back where its elements were. */
function along(
  c: KernelCall,
  out: number,
  dim: number,
  dtype: DType,
  f: (data: Item[], begin: number, width: number, result: Item[]) => void,
): void {
  const x = c.tensor(0);
  const { data, rows, width } = rowsOf(x, [dim], true, dtype);
  c.fit(out, x.sizes);
  const result = data.slice();
  for (let r = 0; r < rows; ++r) f(data as unknown as Item[], r * width, width, result as unknown as Item[]);
  const d = dimension(dim, x.sizes.length);
  const moved = [...x.sizes.keys()].filter((other) => other !== d);
  if (x.sizes.length > 0) moved.push(d);
  // From [others, d] back to the order of x.
  const own = stridesOf(moved.map((other) => x.sizes[other]));
  const strides = x.sizes.map((_, other) => own[moved.indexOf(other)]);
  c.give(out, x.sizes, gather(result, x.sizes, strides), dtype);
}

function cumulated(c: KernelCall): void {
  const { dtype } = c.out(3);
  along(c, 3, c.int(1), wide(dtype), (data, begin, width, result) => {
    for (let i = begin + 1; i < begin + width; ++i)
      result[i] = ((data[i] as number) + (result[i - 1] as number)) as never;
  });
}

function softmax(c: KernelCall, logarithmic: boolean): void {
  const dtype = wide(c.tensor(0).dtype);
  along(c, 3, c.int(1), dtype, (data, begin, width, result) => {
    const x = data as number[];
    let most = Number.NEGATIVE_INFINITY;
    for (let i = begin; i < begin + width; ++i) if (Number.isNaN(x[i]) || x[i] > most) most = x[i];
    let total = 0;
    for (let i = begin; i < begin + width; ++i) total += Math.exp(x[i] - most);
    for (let i = begin; i < begin + width; ++i)
      result[i] = logarithmic ? x[i] - most - Math.log(total) : Math.exp(x[i] - most) / total;
  });
}

function layerNorm(c: KernelCall): void {
  const [x, weight, bias, eps] = [c.tensor(0), c.optional(2), c.optional(3), c.number(4)];
  const normed = c.ints(1).length;
  const dims = [...x.sizes.keys()].slice(x.sizes.length - normed);
  if (String(dims.map((d) => x.sizes[d])) !== String(c.ints(1)))
    throw new ModelError(`sizes [${x.sizes}] do not end in [${c.ints(1)}]`);
  const { data, rows, width, sizes } = rowsOf(x, dims.length === 0 ? undefined : dims, true, "float64");
  const [y, means, inverses] = [x.sizes, sizes, sizes].map((own, i) => c.make(5 + i, own, "float64"));
  const [scale, shift] = [weight, bias].map((one) => one && cast(one.data, one.dtype, "float64"));
  const values = data as Float64Array;
  for (let r = 0; r < rows; ++r) {
    const row = values.subarray(r * width, (r + 1) * width);
    const mean = row.reduce((total, v) => total + v, 0) / width;
    const inverse = 1 / Math.sqrt(row.reduce((total, v) => total + (v - mean) ** 2, 0) / width + eps);
    means[r] = mean;
    inverses[r] = inverse;
    for (let i = 0; i < width; ++i)
      y[r * width + i] = (row[i] - mean) * inverse * Number(scale?.[i] ?? 1) + Number(shift?.[i] ?? 0);
  }
  c.give(5, x.sizes, y, "float64");
  c.give(6, sizes, means, "float64");
  c.give(7, sizes, inverses, "float64");
}

/** The first k of each row, by value; of equal ones the earlier. */
function topk(c: KernelCall): void {
  const x = c.tensor(0);
  const [k, dim, isLargest] = [c.int(1), dimension(c.int(2), x.sizes.length), c.flag(3)];
  const { data, rows, width, dtype } = rowsOf(x, [dim], true, readableAs(x));
  if (!(k >= 0 && k <= width)) throw new ModelError(`there are no ${k} largest of ${width}`);
  const sizes = x.sizes.length === 0 ? [] : x.sizes.with(dim, k);
  const moved = x.sizes.length === 0 ? [] : [...x.sizes.keys()].filter((d) => d !== dim).concat(dim);
  const values = c.make(5, sizes, dtype);
  const indices = c.make(6, sizes, "int64");
  const items = data as unknown as Item[];
  const before = (a: number, b: number): number => {
    const [u, v] = [items[a], items[b]];
    const [nan, other] = [Number.isNaN(u), Number.isNaN(v)];
    if (nan || other) return nan === other ? a - b : nan === isLargest ? -1 : 1;
    return u === v ? a - b : u > v === isLargest ? -1 : 1;
  };
  for (let r = 0; r < rows; ++r)
    Array.from({ length: width }, (_, i) => r * width + i)
      .sort(before)
      .slice(0, k)
      .forEach((at, i) => {
        values[r * k + i] = items[at] as never;
        indices[r * k + i] = BigInt(at - r * width);
      });
  const own = stridesOf(moved.map((d) => sizes[d]));
  const strides = sizes.map((_, d) => own[moved.indexOf(d)]);
  c.give(5, sizes, gather(values as TypedArray, sizes, strides), dtype);
  c.give(6, sizes, gather(indices, sizes, strides), "int64");
}

/** Products of matrices [batch, n, k] and [batch, k, m], summed in doubles. */
function products(
  c: KernelCall,
  out: number,
  a: Tensor,
  b: Tensor,
  add?: Tensor,
  factors: readonly Scalar[] = [],
): void {
  const [n, k] = a.sizes.slice(-2);
  const m = b.sizes.at(-1) as number;
  const batch = elementCount(a.sizes.slice(0, -2));
  const rank = a.sizes.length;
  if (
    rank < 2 ||
    rank !== b.sizes.length ||
    b.sizes.at(-2) !== k ||
    elementCount(b.sizes.slice(0, -2)) !== batch
  )
    throw new ModelError(`matrices [${a.sizes}] and [${b.sizes}] have no product`);
  const sizes = [...a.sizes.slice(0, -1), m];
  const dtype: DType = isFloating(a.dtype) ? "float64" : "int64";
  const result = c.make(out, sizes, dtype) as unknown as number[];
  const [x, y] = [a, b].map((one) => cast(one.data, one.dtype, dtype) as unknown as number[]);
  const zero = (dtype === "int64" ? 0n : 0) as number;
  for (let r = 0; r < batch * n; ++r)
    for (let j = 0; j < m; ++j) {
      let total = zero;
      for (let i = 0, at = Math.floor(r / n) * k * m + j; i < k; ++i, at += m) total += x[r * k + i] * y[at];
      result[r * m + j] = total;
    }
  if (add !== undefined) {
    const [rows, columns] = [add.sizes.at(-2) ?? 1, add.sizes.at(-1) ?? 1];
    const bias = cast(add.data, add.dtype, dtype) as unknown as number[];
    const [beta, alpha] = factors.map((factor) => scalarArray(factor, dtype)[0] as number);
    for (let r = 0; r < n; ++r)
      for (let j = 0; j < m; ++j)
        result[r * m + j] =
          alpha * result[r * m + j] + beta * bias[(rows === 1 ? 0 : r) * columns + (columns === 1 ? 0 : j)];
  }
  c.give(out, sizes, result as unknown as TypedArray, dtype);
}

export const REDUCTIONS: Record<string, Kernel> = {
  "aten::any.out": any((c) => oneDim(c, 1), 3),
  "aten::any.dims_out": any((c) => c.optionalInts(1), 3),
  "aten::any.all_out": any(() => undefined, 1),
  "aten::sum.IntList_out": (c) => totals(c, 4, c.optionalInts(1), c.flag(2), false),
  "aten::mean.out": (c) => totals(c, 4, c.optionalInts(1), c.flag(2), true),
  "aten::amax.out": (c) => extremes(c, 3, c.ints(1), c.flag(2), largest),
  "aten::amin.out": (c) => extremes(c, 3, c.ints(1), c.flag(2), smallest),
  "aten::max.unary_out": (c) => extremes(c, 1, undefined, false, largest),
  "aten::min.unary_out": (c) => extremes(c, 1, undefined, false, smallest),
  "aten::argmax.out": (c) => places(c, largest),
  "aten::argmin.out": (c) => places(c, smallest),
  "aten::max.dim_max": (c) => withPlaces(c, largest),
  "aten::min.dim_min": (c) => withPlaces(c, smallest),
  "aten::cumsum.out": cumulated,
  "aten::_softmax.out": (c) => softmax(c, false),
  "aten::_log_softmax.out": (c) => softmax(c, true),
  "aten::native_layer_norm.out": layerNorm,
  "aten::topk.values": topk,
  "aten::mm.out": (c) => products(c, 2, c.tensor(0), c.tensor(1)),
  "aten::bmm.out": (c) => products(c, 2, c.tensor(0), c.tensor(1)),
  "aten::addmm.out": (c) => products(c, 5, c.tensor(1), c.tensor(2), c.tensor(0), [c.scalar(3), c.scalar(4)]),
};
