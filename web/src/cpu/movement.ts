/** Kernels that move elements, and those that make tensors of numbers. */
import { elementCount, type TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { DType } from "../forms.ts";
import type { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import { cast, promote, type Scalar, scalarArray, scalarData } from "./dtypes.ts";
import { broadcast, broadcastSizes, dimension, gather, spread, stridesOf } from "./strided.ts";

/** Sizes of what has the elements of argument 0 in their order. */
export type View = (c: KernelCall, sizes: readonly number[]) => number[];

/** One size may be -1: what is left. */
export function viewSizes(from: readonly number[], wanted: readonly number[]): number[] {
  const known = wanted.filter((size) => size !== -1);
  const count = elementCount(from);
  const rest = elementCount(known);
  const fits =
    wanted.length - known.length <= 1 &&
    known.every((size) => size >= 0) &&
    (known.length < wanted.length ? rest > 0 && count % rest === 0 : rest === count);
  if (!fits) throw new ModelError(`sizes [${from}] cannot be seen as [${wanted}]`);
  return wanted.map((size) => (size === -1 ? count / rest : size));
}

function without(sizes: readonly number[], dims: readonly number[]): number[] {
  const left = new Set(dims.map((dim) => dimension(dim, sizes.length)));
  return sizes.filter((size, d) => size !== 1 || !left.has(d));
}

const same: View = (_, sizes) => [...sizes];

/** Outputs of these are the last argument. */
export const VIEWS: Record<string, View> = {
  "aten::view_copy.out": (c, sizes) => viewSizes(sizes, c.ints(1)),
  "executorch_prim::et_view.default": (c, sizes) => viewSizes(sizes, c.ints(1)),
  "aten::unsqueeze_copy.out": (c, sizes) => sizes.toSpliced(dimension(c.int(1), sizes.length + 1), 0, 1),
  "aten::squeeze_copy.dim_out": (c, sizes) => without(sizes, [c.int(1)]),
  "aten::squeeze_copy.dims_out": (c, sizes) => without(sizes, c.ints(1)),
  "aten::clone.out": same,
  "aten::alias_copy.out": same,
  "aten::detach_copy.out": same,
  "aten::lift_fresh_copy.out": same,
  "aten::_to_copy.out": same,
  "dim_order_ops::_to_dim_order_copy.out": same,
  "dim_order_ops::_clone_dim_order.out": same,
};

/** Elements of argument 0 at other strides. */
function moved(
  c: KernelCall,
  out: number,
  place: (x: Tensor, strides: number[]) => { sizes: number[]; strides: number[]; offset?: number },
): void {
  const x = c.tensor(0);
  const { sizes, strides, offset = 0 } = place(x, stridesOf(x.sizes));
  c.fit(out, sizes);
  c.give(out, sizes, gather(x.data, sizes, strides, offset), x.dtype);
}

function permuted(x: Tensor, strides: number[], dims: readonly number[]) {
  const order = dims.map((dim) => dimension(dim, x.sizes.length));
  if (new Set(order).size !== x.sizes.length)
    throw new ModelError(`[${dims}] is no order of ${x.sizes.length} dimensions`);
  return { sizes: order.map((d) => x.sizes[d]), strides: order.map((d) => strides[d]) };
}

/** Where a slice begins and how many it takes, as Python has them. */
function slice(c: KernelCall, first: number, size: number): { begin: number; step: number; count: number } {
  const step = c.int(first + 2, 1);
  if (step <= 0) throw new ModelError(`a slice has a step of ${step}`);
  const inside = (at: number): number => Math.min(Math.max(at < 0 ? at + size : at, 0), size);
  const begin = inside(c.int(first, 0));
  const end = inside(c.int(first + 1, size));
  return { begin, step, count: Math.max(0, Math.ceil((end - begin) / step)) };
}

function part(x: Tensor, strides: number[], dim: number, begin: number, count: number, step = 1) {
  return {
    sizes: x.sizes.with(dim, count),
    strides: strides.with(dim, strides[dim] * step),
    offset: begin * strides[dim],
  };
}

/** What a slice takes, whose arguments begin with the dimension at `first`. */
const sliced = (c: KernelCall, first: number) => (x: Tensor, strides: number[]) => {
  const dim = dimension(c.int(first), x.sizes.length);
  const { begin, count, step } = slice(c, first + 1, x.sizes[dim]);
  return part(x, strides, dim, begin, count, step);
};

/** What a selection takes, as a slice of one; a dimension and an index, from `first` on. */
const selected = (c: KernelCall, first: number) => (x: Tensor, strides: number[]) => {
  const dim = dimension(c.int(first), x.sizes.length);
  return { dim, ...part(x, strides, dim, index(c.int(first + 1), x.sizes[dim], dim), 1) };
};

function index(at: number, size: number, dim: number): number {
  if (!(at >= -size && at < size))
    throw new ModelError(`index ${at} is out of range of dimension ${dim}, whose size is ${size}`);
  return at < 0 ? at + size : at;
}

/** Argument 0 with a part of it overwritten by argument 1. */
function overwritten(
  c: KernelCall,
  out: number,
  place: (x: Tensor, strides: number[]) => { sizes: number[]; strides: number[]; offset: number },
): void {
  const [x, source] = [c.tensor(0), c.tensor(1)];
  const { sizes, strides, offset } = place(x, stridesOf(x.sizes));
  if (elementCount(sizes) !== elementCount(source.sizes))
    throw new ModelError(`sizes [${source.sizes}] do not fit the part [${sizes}]`);
  c.fit(out, x.sizes);
  const data = x.data.slice();
  spread(data, cast(source.data, source.dtype, x.dtype), sizes, strides, offset);
  c.give(out, x.sizes, data, x.dtype);
}

/** Pieces that follow each other along a dimension. */
function joined(c: KernelCall, out: number, tensors: readonly Tensor[], dim: number, sizes: number[]): void {
  const dtype = tensors.map((one) => one.dtype).reduce(promote);
  const other = tensors.find((one) => String(sizes.with(dim, one.sizes[dim])) !== String(one.sizes));
  if (other !== undefined)
    throw new ModelError(`sizes [${other.sizes}] do not continue [${tensors[0].sizes}] in dimension ${dim}`);
  const data = c.make(out, sizes, dtype);
  const strides = stridesOf(sizes);
  let at = 0;
  for (const one of tensors) {
    spread(data, cast(one.data, one.dtype, dtype), one.sizes, strides, at * strides[dim]);
    at += one.sizes[dim];
  }
  c.give(out, sizes, data, dtype);
}

function cat(c: KernelCall): void {
  const all = c.tensors(0);
  // Empty ones of rank 1 are let through anywhere.
  const tensors = all.filter(({ sizes }) => String(sizes) !== "0");
  if (tensors.length === 0) {
    c.give(2, [0], new Float32Array(0), "float32");
    return;
  }
  const dim = dimension(c.int(1), tensors[0].sizes.length);
  const extent = tensors.reduce((sum, { sizes }) => sum + (sizes[dim] ?? 0), 0);
  joined(c, 2, tensors, dim, tensors[0].sizes.with(dim, extent));
}

function stack(c: KernelCall): void {
  const tensors = c.tensors(0);
  const first = tensors[0];
  if (first === undefined) throw new ModelError("there is nothing to stack");
  const dim = dimension(c.int(1), first.sizes.length + 1);
  const dtype = tensors.map((one) => one.dtype).reduce(promote);
  const sizes = first.sizes.toSpliced(dim, 0, tensors.length);
  const data = c.make(2, sizes, dtype);
  const strides = stridesOf(sizes);
  tensors.forEach((one, i) => {
    if (String(one.sizes) !== String(first.sizes))
      throw new ModelError(`sizes [${one.sizes}] do not stack on [${first.sizes}]`);
    const own = strides.toSpliced(dim, 1);
    spread(data, cast(one.data, one.dtype, dtype), one.sizes, own, i * strides[dim]);
  });
  c.give(2, sizes, data, dtype);
}

/** Parts of argument 0 along a dimension, as a list of outputs. */
function split(c: KernelCall, out: number, dim: number, counts: readonly number[], drops = false): void {
  const x = c.tensor(0);
  const d = dimension(dim, x.sizes.length);
  if (elementCount(counts) < 0 || counts.reduce((sum, one) => sum + one, 0) !== x.sizes[d])
    throw new ModelError(`parts [${counts}] do not make up the ${x.sizes[d]} of dimension ${d}`);
  let begin = 0;
  counts.forEach((count, n) => {
    const { sizes, strides, offset } = part(x, stridesOf(x.sizes), d, begin, count);
    const own = drops ? sizes.toSpliced(d, 1) : sizes;
    c.giveItem(out, n, own, gather(x.data, sizes, strides, offset), x.dtype);
    begin += count;
  });
}

function expanded(x: Tensor, wanted: readonly number[]): number[] {
  const added = wanted.length - x.sizes.length;
  return wanted.map((size, d) => (size === -1 && d >= added ? x.sizes[d - added] : size));
}

function repeat(c: KernelCall): void {
  const x = c.tensor(0);
  const times = c.ints(1);
  const added = times.length - x.sizes.length;
  if (added < 0 || times.some((n) => n < 0))
    throw new ModelError(`[${x.sizes}] cannot be repeated [${times}] times`);
  const own = times.map((_, d) => x.sizes[d - added] ?? 1);
  const sizes = own.map((size, d) => size * times[d]);
  c.fit(2, sizes);
  // Each dimension as two: how often, and what.
  const strides = stridesOf(own).flatMap((stride) => [0, stride]);
  const pairs = own.flatMap((size, d) => [times[d], size]);
  c.give(2, sizes, gather(x.data, pairs, strides), x.dtype);
}

function flip(c: KernelCall): void {
  moved(c, 2, (x, strides) => {
    const dims = c.ints(1).map((dim) => dimension(dim, x.sizes.length));
    const offset = dims.reduce((sum, d) => sum + (x.sizes[d] - 1) * strides[d], 0);
    return {
      sizes: [...x.sizes],
      strides: strides.map((stride, d) => (dims.includes(d) ? -stride : stride)),
      offset: elementCount(x.sizes) > 0 ? offset : 0,
    };
  });
}

function padded(c: KernelCall): void {
  const x = c.tensor(0);
  const pads = c.ints(1);
  const rank = x.sizes.length;
  const of = (d: number, side: 0 | 1): number => pads[2 * (rank - 1 - d) + side] ?? 0;
  const sizes = x.sizes.map((size, d) => size + of(d, 0) + of(d, 1));
  if (pads.length > 2 * rank || pads.length % 2 === 1 || sizes.some((size) => size < 0))
    throw new ModelError(`[${x.sizes}] cannot be padded by [${pads}]`);
  const data = c.make(3, sizes, x.dtype);
  data.fill(scalarArray(c.scalar(2), x.dtype)[0] as never);
  const strides = stridesOf(sizes);
  // What negative padding cuts off is left out on the way.
  const cut = x.sizes.map((_, d) => Math.max(0, -of(d, 0)));
  const kept = x.sizes.map((size, d) => Math.max(0, size - cut[d] - Math.max(0, -of(d, 1))));
  const own = stridesOf(x.sizes);
  const from = own.reduce((sum, stride, d) => sum + cut[d] * stride, 0);
  const to = strides.reduce((sum, stride, d) => sum + Math.max(0, of(d, 0)) * stride, 0);
  spread(data, gather(x.data, kept, own, from), kept, strides, to);
  c.give(3, sizes, data, x.dtype);
}

/** Zeros above a diagonal. */
function tril(c: KernelCall): void {
  const x = c.tensor(0);
  const diagonal = c.int(1, 0);
  if (x.sizes.length < 2) throw new ModelError(`[${x.sizes}] is no matrix`);
  const [rows, columns] = x.sizes.slice(-2);
  c.fit(2, x.sizes);
  const data = x.data.slice();
  const zero = scalarArray(0n, x.dtype)[0];
  for (let i = 0; i < data.length; ++i)
    if ((i % columns) - (Math.floor(i / columns) % rows) > diagonal) data[i] = zero as never;
  c.give(2, x.sizes, data, x.dtype);
}

/** Elements at any strides within argument 0. */
function asStrided(c: KernelCall): void {
  const [x, sizes, strides, offset] = [c.tensor(0), c.ints(1), c.ints(2), c.int(3, 0)];
  if (strides.length !== sizes.length || [...sizes, ...strides, offset].some((one) => one < 0))
    throw new ModelError(`sizes [${sizes}] with strides [${strides}] from ${offset} on`);
  c.fit(4, sizes);
  const last = sizes.reduce((at, size, d) => at + (size - 1) * strides[d], offset);
  if (elementCount(sizes) > 0 && last >= x.data.length)
    throw new ModelError(`elements up to ${last} are wanted of ${x.data.length}`);
  c.give(4, sizes, gather(x.data, sizes, strides, offset), x.dtype);
}

// --- Tensors of numbers ---

function filled(c: KernelCall, out: number, sizes: readonly number[], value: Scalar): void {
  if (sizes.some((size) => size < 0)) throw new ModelError(`sizes [${sizes}] are negative`);
  const { dtype } = c.out(out);
  const data: TypedArray = c.make(out, sizes, dtype);
  const [one, from] = scalarData(value);
  data.fill(cast(one, from, dtype)[0] as never);
  c.give(out, sizes, data, dtype);
}

function range(c: KernelCall, out: number, begin: Scalar, end: Scalar, step: Scalar): void {
  const [a, b, by] = [begin, end, step].map(Number);
  const count = Math.ceil((b - a) / by);
  if (!Number.isFinite(count) || count < 0)
    throw new ModelError(`there is no range from ${a} to ${b} by ${by}`);
  const isInteger = [begin, end, step].every((one) => typeof one === "bigint");
  const dtype: DType = isInteger ? "int64" : "float64";
  const data = c.make(out, [count], dtype);
  for (let i = 0; i < count; ++i) data[i] = (isInteger ? BigInt(a + i * by) : a + i * by) as never;
  c.give(out, [count], data, dtype);
}

/** Argument 0 becomes argument 1, broadcast. */
const copied =
  (out: number): Kernel =>
  (c) => {
    const [x, source] = [c.tensor(0), c.tensor(1)];
    if (broadcastSizes(x.sizes, source.sizes).length !== x.sizes.length)
      throw new ModelError(`sizes [${source.sizes}] cannot become [${x.sizes}]`);
    c.give(out, x.sizes, broadcast(source.data, source.sizes, x.sizes), source.dtype);
  };

export const MOVEMENT: Record<string, Kernel> = {
  ...Object.fromEntries(
    Object.entries(VIEWS).map(([name, view]): [string, Kernel] => [
      name,
      (c) => c.give(-1, view(c, c.tensor(0).sizes), c.tensor(0).data, c.tensor(0).dtype),
    ]),
  ),
  "aten::copy_": copied(-1),
  "aten::copy.out": copied(-1),
  "aten::expand_copy.out": (c) => {
    const x = c.tensor(0);
    const sizes = expanded(x, c.ints(1));
    c.fit(3, sizes);
    c.give(3, sizes, broadcast(x.data, x.sizes, sizes), x.dtype);
  },
  "aten::permute_copy.out": (c) => moved(c, 2, (x, strides) => permuted(x, strides, c.ints(1))),
  "aten::t_copy.out": (c) => moved(c, 1, (x, strides) => permuted(x, strides, [...x.sizes.keys()].reverse())),
  "aten::transpose_copy.int_out": (c) =>
    moved(c, 3, (x, strides) => {
      const rank = x.sizes.length;
      const [a, b] = [dimension(c.int(1), rank), dimension(c.int(2), rank)];
      return permuted(
        x,
        strides,
        [...x.sizes.keys()].map((d) => (d === a ? b : d === b ? a : d)),
      );
    }),
  "aten::slice_copy.Tensor_out": (c) => moved(c, 5, sliced(c, 1)),
  "aten::narrow_copy.out": (c) =>
    moved(c, 4, (x, strides) => {
      const dim = dimension(c.int(1), x.sizes.length);
      const begin = c.int(2) < 0 ? c.int(2) + x.sizes[dim] : c.int(2);
      if (!(begin >= 0 && c.int(3) >= 0 && begin + c.int(3) <= x.sizes[dim]))
        throw new ModelError(`there are no ${c.int(3)} from ${c.int(2)} on in ${x.sizes[dim]}`);
      return part(x, strides, dim, begin, c.int(3));
    }),
  "aten::select_copy.int_out": (c) =>
    moved(c, 3, (x, strides) => {
      const { dim, sizes, offset } = selected(c, 1)(x, strides);
      return { offset, sizes: sizes.toSpliced(dim, 1), strides: strides.toSpliced(dim, 1) };
    }),
  "aten::slice_scatter.out": (c) => overwritten(c, 6, sliced(c, 2)),
  "aten::select_scatter.out": (c) => overwritten(c, 4, selected(c, 2)),
  "aten::cat.out": cat,
  "aten::stack.out": stack,
  "aten::split_with_sizes_copy.out": (c) => split(c, 3, c.int(2), c.ints(1)),
  "aten::split_copy.Tensor_out": (c) => {
    const dim = dimension(c.int(2), c.tensor(0).sizes.length);
    const [size, each] = [c.tensor(0).sizes[dim], c.int(1)];
    if (!(each > 0)) throw new ModelError(`parts of ${each}`);
    split(
      c,
      3,
      dim,
      Array.from({ length: Math.max(1, Math.ceil(size / each)) }, (_, i) => Math.min(each, size - i * each)),
    );
  },
  "aten::unbind_copy.int_out": (c) => {
    const dim = dimension(c.int(1), c.tensor(0).sizes.length);
    split(c, 2, dim, new Array(c.tensor(0).sizes[dim]).fill(1), true);
  },
  "aten::repeat.out": repeat,
  "aten::flip.out": flip,
  "aten::constant_pad_nd.out": padded,
  "aten::tril.out": tril,
  "aten::as_strided_copy.out": asStrided,
  "aten::full.out": (c) => filled(c, 2, c.ints(0), c.scalar(1)),
  "aten::full_like.out": (c) => filled(c, 3, c.tensor(0).sizes, c.scalar(1)),
  "aten::fill.Scalar_out": (c) => filled(c, 2, c.tensor(0).sizes, c.scalar(1)),
  "aten::scalar_tensor.out": (c) => filled(c, 1, [], c.scalar(0)),
  "aten::zeros.out": (c) => filled(c, 1, c.ints(0), 0n),
  "aten::ones.out": (c) => filled(c, 1, c.ints(0), 1n),
  "aten::arange.out": (c) => range(c, 1, 0n, c.scalar(0), 1n),
  "aten::arange.start_out": (c) => range(c, 3, c.scalar(0), c.scalar(1), c.scalar(2)),
};
