/** Kernels of llama: attention over a cache, of floats or of 8 bits with a scale for each position and head. */
import type { TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import { cast } from "./dtypes.ts";

/** [batch, positions, heads, width], or positions behind heads: a row for each position and head. */
interface Rows {
  data: Float32Array;
  batch: number;
  positions: number;
  heads: number;
  width: number;
  /** Where the row begins. */
  at(batch: number, position: number, head: number): number;
}

function rowsOf({ sizes }: Tensor, data: Float32Array, behindHeads: boolean): Rows {
  if (sizes.length !== 4) throw new ModelError(`attention takes four dimensions, not [${sizes}]`);
  const [batch, first, second, width] = sizes;
  const [positions, heads] = behindHeads ? [second, first] : [first, second];
  const at = (b: number, position: number, head: number): number =>
    width * (b * first * second + (behindHeads ? head * second + position : position * second + head));
  return { data, batch, positions, heads, width, at };
}

const floats = ({ data, dtype }: Tensor): Float32Array => cast(data, dtype, "float32") as Float32Array;

/** (x - zero) * scale, of each row its own. */
function dequantized(x: Tensor, zeros: Tensor, scales: Tensor): Float32Array {
  const width = x.sizes.at(-1) ?? 1;
  const rows = x.data.length / width;
  if (zeros.data.length !== rows || scales.data.length !== rows)
    throw new ModelError(
      `zero points [${zeros.sizes}] and scales [${scales.sizes}] are not one for each row of [${x.sizes}]`,
    );
  const [zero, scale] = [floats(zeros), floats(scales)];
  const out = new Float32Array(x.data.length);
  for (let r = 0; r < rows; ++r)
    for (let i = r * width; i < (r + 1) * width; ++i) out[i] = (Number(x.data[i]) - zero[r]) * scale[r];
  return out;
}

/** What queries from `start` on see: all up to their own place, what a mask [queries, keys] says, or all that is there. */
interface Sight {
  start: number;
  isCausal: boolean;
  mask: { data: TypedArray; keys: number } | undefined;
}

function sightOf(c: KernelCall, q: Rows, k: Rows): Sight {
  const [start, mask, isCausal] = [c.int(3), c.optional(4), c.flag(6)];
  const end = start + q.positions;
  if (start < 0 || end > k.positions)
    throw new ModelError(`positions ${start} to ${end} do not fit a cache of ${k.positions}`);
  if (mask === undefined) return { start, isCausal, mask };
  if (isCausal) throw new ModelError("it has a mask and is causal as well");
  if (String(mask.sizes) !== `${q.positions},${k.positions}`)
    throw new ModelError(`its mask has sizes [${mask.sizes}], not [${q.positions},${k.positions}]`);
  return { start, isCausal, mask: { data: floats(mask), keys: k.positions } };
}

function attend(c: KernelCall, out: number, q: Rows, k: Rows, v: Rows): void {
  if (k.heads === 0 || q.heads % k.heads !== 0 || String(sizesOf(k)) !== String(sizesOf(v)))
    throw new ModelError(
      `queries [${sizesOf(q)}], keys [${sizesOf(k)}] and values [${sizesOf(v)}] do not fit together`,
    );
  const sight = sightOf(c, q, k);
  const given = c.value(7);
  const scale = given === null ? 1 / Math.sqrt(q.width) : c.number(7);
  const sizes = c.tensor(0).sizes;
  const result = c.make(out, sizes, "float32");
  for (let b = 0; b < q.batch; ++b)
    for (let h = 0; h < q.heads; ++h)
      for (let p = 0; p < q.positions; ++p) {
        const group = Math.floor((h * k.heads) / q.heads);
        const weights = softmax(scores(q, k, b, h, group, p, scale, sight));
        weigh(result, q.at(b, p, h), v, b, group, weights);
      }
  c.give(out, sizes, result, "float32");
}

const sizesOf = ({ batch, positions, heads, width }: Rows): number[] => [batch, positions, heads, width];

function scores(
  q: Rows,
  k: Rows,
  batch: number,
  head: number,
  group: number,
  position: number,
  scale: number,
  { start, isCausal, mask }: Sight,
): Float64Array {
  const count = mask?.keys ?? start + (isCausal ? position + 1 : q.positions);
  const out = new Float64Array(count);
  const from = q.at(batch, position, head);
  for (let key = 0; key < count; ++key) {
    const at = k.at(batch, key, group);
    let sum = 0;
    for (let i = 0; i < q.width; ++i) sum += q.data[from + i] * k.data[at + i];
    out[key] = sum * scale + Number(mask?.data[position * count + key] ?? 0);
  }
  return out;
}

function softmax(values: Float64Array): Float64Array {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > most) most = value;
  let sum = 0;
  for (let i = 0; i < values.length; ++i) {
    values[i] = Math.exp(values[i] - most);
    sum += values[i];
  }
  for (let i = 0; i < values.length; ++i) values[i] /= sum;
  return values;
}

function weigh(
  out: Float32Array,
  at: number,
  v: Rows,
  batch: number,
  group: number,
  weights: Float64Array,
): void {
  const sums = new Float64Array(v.width);
  for (let key = 0; key < weights.length; ++key) {
    const weight = weights[key];
    if (weight === 0) continue; // what nobody sees may be anything
    const from = v.at(batch, key, group);
    for (let i = 0; i < v.width; ++i) sums[i] += weight * v.data[from + i];
  }
  out.set(sums, at);
}

function attention(c: KernelCall): void {
  const [q, k, v] = [0, 1, 2].map((i) => rowsOf(c.tensor(i), floats(c.tensor(i)), false));
  attend(c, 8, q, k, v);
}

function attentionInBytes(c: KernelCall): void {
  const behindHeads = c.flag(14);
  const [q, k, v] = [0, 1, 2].map((i) => {
    const x = c.tensor(i);
    return rowsOf(x, dequantized(x, c.tensor(8 + 2 * i), c.tensor(9 + 2 * i)), behindHeads);
  });
  attend(c, 15, q, k, v);
}

export const ATTENTION: Record<string, Kernel> = {
  "llama::custom_sdpa.out": attention,
  "llama::custom_quantized_sdpa.out": attentionInBytes,
};
