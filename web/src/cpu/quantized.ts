/** Kernels of quantized_decomposed: embeddings in 8, 4 and 2 bits, and conversions to and from 8 bits. */
import { elementCount } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import { cast } from "./dtypes.ts";
import { roundEven } from "./elementwise.ts";
import { dimension, stridesOf } from "./strided.ts";

type Item = (data: ArrayLike<number | bigint>, at: number) => number;
const plain: Item = (data, at) => Number(data[at]);

/** Several elements a byte, each less half their range: four bits from the upper half on, two from the lower end. */
const packed =
  (bits: 2 | 4): Item =>
  (data, at) => {
    const each = 8 / bits;
    const place = at % each;
    const shift = bits * (bits === 4 ? each - 1 - place : place);
    return ((Number(data[Math.floor(at / each)]) >> shift) & ((1 << bits) - 1)) - (1 << (bits - 1));
  };

/** Rows of a table, each of whose groups has a scale and maybe a zero point. */
function embedding(item: Item, each: number, names: boolean): Kernel {
  return (c) => {
    const [weight, scales, zeros] = [c.tensor(0), c.tensor(1), c.optional(2)];
    const index = c.tensor(5);
    const out = names ? 7 : 6;
    const [vocabulary, stored] = weight.sizes;
    const width = stored * each;
    const groups = scales.sizes[1] ?? 1;
    if (weight.sizes.length !== 2 || scales.sizes[0] !== vocabulary || width % groups !== 0)
      throw new ModelError(`weights [${weight.sizes}] do not fit scales [${scales.sizes}]`);
    if (zeros !== undefined && zeros.data.length !== scales.data.length)
      throw new ModelError(`zero points [${zeros.sizes}] do not fit scales [${scales.sizes}]`);
    const sizes = [...index.sizes, width];
    const result = c.make(out, sizes, "float32");
    const scale = cast(scales.data, scales.dtype, "float32");
    const zero = zeros && cast(zeros.data, zeros.dtype, "float32");
    const group = width / groups;
    index.data.forEach((token: number | bigint, i: number) => {
      const row = Number(token);
      if (!(row >= 0 && row < vocabulary))
        throw new ModelError(`index ${token} is out of range of a table of ${vocabulary} rows`);
      for (let j = 0; j < width; ++j) {
        const g = row * groups + Math.floor(j / group);
        result[i * width + j] =
          Math.fround(item(weight.data, row * width + j) - Number(zero?.[g] ?? 0)) * Number(scale[g]);
      }
    });
    c.give(out, sizes, result, "float32");
  };
}

/** A scale and a zero point for each element of x: `group` says which. */
interface Affine {
  scales: ArrayLike<number | bigint>;
  zeros: ArrayLike<number | bigint> | undefined;
  group: (at: number) => number;
  least: number;
  most: number;
}

function quantize(c: KernelCall, { scales, zeros, group, least, most }: Affine): void {
  const x = c.tensor(0);
  const result = c.make(-1, x.sizes, "float32");
  const data = cast(x.data, x.dtype, "float32");
  for (let i = 0; i < result.length; ++i) {
    const g = group(i);
    const inverse = Math.fround(1 / Math.fround(Number(scales[g])));
    const rounded = roundEven(Math.fround(Number(data[i]) * inverse)) + Number(zeros?.[g] ?? 0);
    result[i] = Math.min(Math.max(rounded, least), most);
  }
  c.give(-1, x.sizes, result, "float32");
}

function dequantize(c: KernelCall, { scales, zeros, group }: Affine): void {
  const x = c.tensor(0);
  const result = c.make(-1, x.sizes, "float32");
  for (let i = 0; i < result.length; ++i) {
    const g = group(i);
    result[i] = Math.fround(Number(x.data[i]) - Number(zeros?.[g] ?? 0)) * Math.fround(Number(scales[g]));
  }
  c.give(-1, x.sizes, result, "float32");
}

/** One scale for all, as numbers. */
const perTensor = (c: KernelCall): Affine => ({
  scales: [c.number(1)],
  zeros: [c.int(2)],
  group: () => 0,
  least: c.int(3),
  most: c.int(4),
});
/** The same, as tensors of one element. */
const perTensors = (c: KernelCall): Affine => ({
  scales: c.tensor(1).data,
  zeros: c.tensor(2).data,
  group: () => 0,
  least: c.int(3),
  most: c.int(4),
});
/** One for each row of the last dimension. */
const perToken = (c: KernelCall): Affine => {
  const [x, scales, zeros] = [c.tensor(0), c.tensor(1), c.tensor(2)];
  const width = x.sizes.at(-1) ?? 1;
  checkCount(x, scales, elementCount(x.sizes.slice(0, -1)));
  return {
    scales: scales.data,
    zeros: zeros.data,
    group: (at) => Math.floor(at / width),
    least: c.int(3),
    most: c.int(4),
  };
};
/** One for each index of a dimension. */
const perChannel = (c: KernelCall): Affine => {
  const [x, scales, zeros] = [c.tensor(0), c.tensor(1), c.optional(2)];
  const dim = dimension(c.int(3), x.sizes.length);
  const stride = stridesOf(x.sizes)[dim];
  checkCount(x, scales, x.sizes[dim]);
  return {
    scales: scales.data,
    zeros: zeros?.data,
    group: (at) => Math.floor(at / stride) % x.sizes[dim],
    least: c.int(4),
    most: c.int(5),
  };
};

function checkCount(x: Tensor, scales: Tensor, wanted: number): void {
  if (scales.data.length !== wanted)
    throw new ModelError(`[${x.sizes}] takes ${wanted} scales, not [${scales.sizes}]`);
}

const NAME = "quantized_decomposed";
const EMBEDDINGS: [string, Item, number][] = [
  ["byte", plain, 1],
  ["4bit", packed(4), 2],
  ["2bit", packed(2), 4],
];
const FORMS: [string, (c: KernelCall) => Affine][] = [
  ["per_tensor.out", perTensor],
  ["per_tensor.Tensor_out", perTensors],
  ["per_token.out", perToken],
  ["per_channel.out", perChannel],
];
export const QUANTIZED: Record<string, Kernel> = Object.fromEntries<Kernel>([
  ...EMBEDDINGS.flatMap(([name, item, each]): [string, Kernel][] => [
    [`${NAME}::embedding_${name}.out`, embedding(item, each, false)],
    [`${NAME}::embedding_${name}.dtype_out`, embedding(item, each, true)],
  ]),
  ...FORMS.flatMap(([name, affine]): [string, Kernel][] => [
    [`${NAME}::quantize_${name}`, (c) => quantize(c, affine(c))],
    [`${NAME}::dequantize_${name}`, (c) => dequantize(c, affine(c))],
  ]),
]);
