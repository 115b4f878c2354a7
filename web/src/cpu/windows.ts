/** Kernels over windows of planes: convolutions and pooling. */
import { elementCount, isFloating } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import { readable } from "./dtypes.ts";

/** Along one dimension: which places of the smaller side a tap of the window has, and where these are on the other. */
interface Span {
  first: number;
  end: number;
  stride: number;
  offset: number;
}

function span(large: number, small: number, stride: number, offset: number): Span {
  const first = Math.max(0, Math.ceil(-offset / stride));
  const end = Math.min(small, Math.floor((large - 1 - offset) / stride) + 1);
  return { first, end, stride, offset };
}

// --- Convolutions ---

/** [batch, channels, height, width], of height 1 where there is but one dimension. */
const planes = ({ sizes }: Tensor): number[] =>
  sizes.length === 3 ? [sizes[0], sizes[1], 1, sizes[2]] : [...sizes];

interface Window {
  stride: number[];
  padding: number[];
  dilation: number[];
  /** Sizes at the ends that no tap may reach. */
  more: number[];
  transposed: boolean;
  groups: number;
}

/** Of height and width; what is said for one dimension holds for both, but for a height of 1. */
function pair(given: readonly number[], rank: number, ofHeight: number, unless = ofHeight): number[] {
  const all = given.length === 0 ? [unless] : given;
  if (rank === 1) return [ofHeight, all[0]];
  return [all[0], all[1] ?? all[0]];
}

function windowOf(c: KernelCall, rank: number): Window {
  return {
    stride: pair(c.ints(3), rank, 1),
    padding: pair(c.ints(4), rank, 0),
    dilation: pair(c.ints(5), rank, 1),
    transposed: c.flag(6),
    more: pair(c.ints(7), rank, 0),
    groups: c.int(8),
  };
}

function convolved(
  large: number,
  kernel: number,
  d: number,
  { stride, padding, dilation, more, transposed }: Window,
): number {
  const reach = dilation[d] * (kernel - 1) + 1;
  if (transposed) return (large - 1) * stride[d] - 2 * padding[d] + reach + more[d];
  return Math.floor((large + 2 * padding[d] - reach) / stride[d]) + 1;
}

function checkFloats({ dtype, sizes }: Tensor, weight: Tensor): void {
  const isKnown = sizes.length === 3 || sizes.length === 4;
  if (!isKnown || weight.sizes.length !== sizes.length || !isFloating(dtype))
    throw new ModelError(
      `x is ${dtype} [${sizes}] and its weight [${weight.sizes}], but convolutions of floats over one or two dimensions are there`,
    );
}

function convolution(c: KernelCall): void {
  const [x, weight, bias] = [c.tensor(0), c.tensor(1), c.optional(2)];
  checkFloats(x, weight);
  const window = windowOf(c, x.sizes.length - 2);
  const { transposed, groups } = window;
  const [batch, channels, ...given] = planes(x);
  const [rows, columns, ...kernel] = planes(weight);
  const [from, to] = transposed ? [rows, columns * groups] : [columns * groups, rows];
  if (from !== channels || to % groups !== 0 || (bias !== undefined && bias.data.length !== to))
    throw new ModelError(`x [${x.sizes}] does not fit a weight [${weight.sizes}] in ${groups} groups`);
  const made = given.map((size, d) => convolved(size, kernel[d], d, window));
  const sizes = [batch, to, ...made.slice(4 - x.sizes.length)];
  const dtype = x.dtype === "float64" ? "float64" : "float32";
  const result = c.make(9, sizes, dtype);
  const [data, weights, biases] = [x, weight, bias].map(
    (one) => one && (readable(one.data, one.dtype) as Numbers),
  );
  const [taps, area, each] = [tapsOf(given, made, kernel, window), elementCount(given), elementCount(kernel)];
  const [many, few] = [channels / groups, to / groups];
  for (let plane = 0; plane < batch * to; ++plane) {
    const [n, o] = [Math.floor(plane / to), plane % to];
    const group = Math.floor(o / few);
    const sums = new Float64Array(elementCount(made)).fill(biases?.[o] ?? 0);
    for (let i = group * many; i < (group + 1) * many; ++i) {
      const pair = transposed ? i * columns + (o % few) : o * columns + (i % many);
      slide(
        { data: sums, width: made[1], at: 0 },
        { data: data!, width: given[1], at: (n * channels + i) * area },
        { data: weights!, width: kernel[1], at: pair * each },
        taps,
        transposed,
      );
    }
    result.set(sums, plane * sums.length);
  }
  c.give(9, sizes, result, dtype);
}

type Numbers = Float32Array | Float64Array;

/** Of one channel, or of one pair of them. */
interface Plane {
  data: Numbers;
  width: number;
  at: number;
}

/** Where each element of the kernel meets both planes. */
function tapsOf(
  given: readonly number[],
  made: readonly number[],
  kernel: readonly number[],
  { stride, padding, dilation, transposed }: Window,
): Span[][] {
  const [large, small] = transposed ? [made, given] : [given, made];
  return Array.from({ length: kernel[0] * kernel[1] }, (_, k) =>
    [Math.floor(k / kernel[1]), k % kernel[1]].map((tap, d) =>
      span(large[d], small[d], stride[d], tap * dilation[d] - padding[d]),
    ),
  );
}

/** Adds what one channel gives to another. */
function slide(out: Plane, x: Plane, kernel: Plane, taps: readonly Span[][], transposed: boolean): void {
  const [large, small] = transposed ? [out.width, x.width] : [x.width, out.width];
  const [sums, data] = [out.data, x.data];
  for (const [k, [rows, columns]] of taps.entries()) {
    const weight = kernel.data[kernel.at + k];
    const step = columns.stride;
    const count = columns.end - columns.first;
    for (let r = rows.first; r < rows.end; ++r) {
      const begin = (r * rows.stride + rows.offset) * large + columns.first * step + columns.offset;
      const at = r * small + columns.first;
      if (transposed) for (let i = 0; i < count; ++i) sums[begin + i * step] += weight * data[x.at + at + i];
      else for (let i = 0; i < count; ++i) sums[at + i] += weight * data[x.at + begin + i * step];
    }
  }
}

// --- Pooling ---

/** Windows along a dimension, as they are before they are cut to what is there. */
type Windows = { count: number; begin(at: number): number; end(at: number): number; step: number };

function pooled(c: KernelCall, d: number, size: number, dilated: boolean, ceils: boolean): Windows {
  const kernel = pair(c.ints(1), 2, 1)[d];
  const stride = c.ints(2).length === 0 ? kernel : pair(c.ints(2), 2, 1)[d];
  const padding = pair(c.ints(3), 2, 0)[d];
  const step = dilated ? pair(c.ints(4), 2, 1)[d] : 1;
  if (!(kernel > 0 && stride > 0 && step > 0 && padding >= 0))
    throw new ModelError(`${kernel} elements, ${step} apart, at strides of ${stride} are no windows`);
  const reach = step * (kernel - 1) + 1;
  let count = Math.floor((size + 2 * padding - reach + (ceils ? stride - 1 : 0)) / stride) + 1;
  if (ceils && (count - 1) * stride >= size + padding) --count; // one that begins behind the padding
  const begin = (at: number): number => at * stride - padding;
  return { count, begin, end: (at) => Math.min(begin(at) + reach, size + padding), step };
}

/** What one output is of. */
interface Place {
  /** Where its plane begins. */
  plane: number;
  rows: Taken;
  columns: Taken;
}

function poolOf(
  { sizes }: Tensor,
  windows: (d: number, size: number) => Windows,
): { sizes: number[]; places: () => Generator<Place> } {
  if (sizes.length !== 3 && sizes.length !== 4) throw new ModelError(`planes are pooled, not [${sizes}]`);
  const [height, width] = sizes.slice(-2);
  const [down, across] = [windows(0, height), windows(1, width)];
  function* places(): Generator<Place> {
    for (let plane = 0; plane < elementCount(sizes); plane += height * width)
      for (let r = 0; r < down.count; ++r)
        for (let q = 0; q < across.count; ++q)
          yield { plane, rows: taken(down, r, height), columns: taken(across, q, width) };
  }
  return { sizes: [...sizes.slice(0, -2), down.count, across.count], places };
}

/** Places of one window, and how many there are with those in the padding. */
interface Taken {
  places: number[];
  padded: number;
}

function taken({ begin, end, step }: Windows, at: number, size: number): Taken {
  const places: number[] = [];
  const inPadding = Math.max(0, Math.ceil(-begin(at) / step));
  for (let i = begin(at) + inPadding * step; i < Math.min(end(at), size); i += step) places.push(i);
  return { places, padded: end(at) - begin(at) };
}

function averages(
  c: KernelCall,
  out: number,
  windows: (d: number, size: number) => Windows,
  divisor: Divisor,
): void {
  const x = c.tensor(0);
  if (!isFloating(x.dtype)) throw new ModelError(`means of ${x.dtype} are not there`);
  const data = readable(x.data, x.dtype) as Numbers;
  const dtype = x.dtype === "float64" ? "float64" : "float32";
  const { sizes, places } = poolOf(x, windows);
  const result = c.make(out, sizes, dtype);
  const width = x.sizes.at(-1) ?? 1;
  let at = 0;
  for (const { plane, rows, columns } of places()) {
    let sum = 0;
    for (const r of rows.places) for (const q of columns.places) sum += data[plane + r * width + q];
    result[at++] = sum / divisor(rows, columns);
  }
  c.give(out, sizes, result, dtype);
}
type Divisor = (rows: Taken, columns: Taken) => number;
const ofThose: Divisor = (rows, columns) => rows.places.length * columns.places.length;

function averagePool(c: KernelCall): void {
  const given = c.int(6, 0);
  const divisor: Divisor = c.flag(5) ? (rows, columns) => rows.padded * columns.padded : ofThose;
  const windows = (d: number, size: number): Windows => pooled(c, d, size, false, c.flag(4));
  averages(c, 7, windows, given === 0 ? divisor : () => given);
}

function adaptiveAveragePool(c: KernelCall): void {
  const counts = c.ints(1);
  const windows = (d: number, size: number): Windows => ({
    count: counts[d],
    begin: (at) => Math.floor((at * size) / counts[d]),
    end: (at) => Math.ceil(((at + 1) * size) / counts[d]),
    step: 1,
  });
  averages(c, 2, windows, ofThose);
}

function maxPool(c: KernelCall): void {
  const x = c.tensor(0);
  const data = readable(x.data, x.dtype) as unknown as (number | bigint)[];
  const { sizes, places } = poolOf(x, (d, size) => pooled(c, d, size, true, c.flag(5)));
  const largest = c.make(6, sizes, x.dtype);
  const indices = c.make(7, sizes, "int64");
  const width = x.sizes.at(-1) ?? 1;
  let to = 0;
  for (const { plane, rows, columns } of places()) {
    let best = plane + rows.places[0] * width + columns.places[0];
    for (const r of rows.places)
      for (const q of columns.places) {
        const at = plane + r * width + q;
        if (data[at] > data[best] || Number.isNaN(data[at])) best = at;
      }
    largest[to] = x.data[best] as never;
    indices[to++] = BigInt(best - plane);
  }
  c.give(6, sizes, largest, x.dtype);
  c.give(7, sizes, indices, "int64");
}

export const WINDOWS: Record<string, Kernel> = {
  "aten::convolution.out": convolution,
  "aten::avg_pool2d.out": averagePool,
  "aten::_adaptive_avg_pool2d.out": adaptiveAveragePool,
  "aten::max_pool2d_with_indices.out": maxPool,
};
