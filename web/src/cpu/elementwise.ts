/** Kernels that compute each element by itself, of operands that are broadcast. */
import { isFloating, type TypedArray } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { DType } from "../forms.ts";
import { Tensor } from "../tensor.ts";
import type { Kernel, KernelCall } from "./call.ts";
import {
  cast,
  promote,
  promoteScalar,
  readable,
  type Scalar,
  scalarArray,
  type Wide,
  wide,
} from "./dtypes.ts";
import { broadcast, broadcastSizes } from "./strided.ts";

/**
 * Of numbers, or of bigints that TypeScript is told are such: the same operators do for both. Results become
 * elements of the dtype that is computed in, which rounds and wraps them.
 */
type Unary = (x: number) => number;
type Binary = (a: number, b: number) => number;
type Ternary = (a: number, b: number, c: number) => number;

/** What is computed in a dtype; where that is not said, as in the general form. */
interface Forms<F> {
  any: F;
  int32?: F;
  int64?: F;
}
const forms = <F extends Unary | Binary>(form: F | Forms<F>): Forms<F> =>
  typeof form === "function" ? { any: form } : form;
const formOf = <F>(given: Forms<F>, dtype: Wide): F =>
  (dtype === "int32" ? given.int32 : dtype === "int64" ? given.int64 : undefined) ?? given.any;

type Operand = Tensor | Scalar;

function promoted(operands: readonly Operand[]): DType {
  let dtype: DType = "bool";
  for (const one of operands) if (one instanceof Tensor) dtype = promote(dtype, one.dtype);
  for (const one of operands) if (!(one instanceof Tensor)) dtype = promoteScalar(dtype, one);
  return dtype;
}

/** Elements of an operand as they are computed with, repeated to `sizes`. */
function elements(operand: Operand, dtype: Wide, sizes: readonly number[]): ArrayLike<number> {
  const [data, own] =
    operand instanceof Tensor
      ? [operandData(operand, dtype), operand.sizes]
      : [scalarArray(operand, dtype), []];
  return broadcast(data, own, sizes) as ArrayLike<number>;
}
function operandData({ data, dtype: from }: Tensor, dtype: Wide): TypedArray {
  // Narrower numbers are exact in wider ones, and need no other array.
  const exact = dtype !== "int64" && from !== "int64" && !(dtype === "float32" && from === "int32");
  return exact && !(dtype === "float32" && from === "float64")
    ? readable(data, from)
    : cast(data, from, dtype);
}

/** Gives output `out` the values of `f`, computed in `dtype`. */
function each(
  c: KernelCall,
  out: number,
  operands: Operand[],
  dtype: DType,
  f: Ternary,
  gives?: DType,
): void {
  const sizes = broadcastSizes(...operands.map((one) => (one instanceof Tensor ? one.sizes : [])));
  const within = wide(dtype);
  const result = c.make(out, sizes, gives ?? within) as unknown as number[];
  const [a, b, d] = operands.map((one) => elements(one, within, sizes));
  const count = result.length;
  // The engine makes loops of these that do nothing else.
  if (d !== undefined) for (let i = 0; i < count; ++i) result[i] = f(a[i], b[i], d[i]);
  else if (b !== undefined) for (let i = 0; i < count; ++i) result[i] = (f as Binary)(a[i], b[i]);
  else for (let i = 0; i < count; ++i) result[i] = (f as Unary)(a[i]);
  const data = result as unknown as TypedArray;
  // What is computed wider is first of the dtype that the operands have together.
  const narrow = gives === undefined && dtype !== within;
  c.give(out, sizes, narrow ? cast(data, within, dtype) : data, narrow ? dtype : (gives ?? within));
}

const zeroCheck =
  (f: Binary): Binary =>
  (a, b) => {
    if (Number(b) === 0) throw new ModelError("an integer is divided by zero");
    return f(a, b);
  };

const floating = (dtype: DType): DType => (isFloating(dtype) ? dtype : "float32");

// --- Two operands ---

/** `round` is what each step is rounded to. */
const floorDivide =
  (round: Unary): Binary =>
  (a, b) => {
    if (b === 0) return a / b;
    const rest = a % b;
    const quotient = round(round(a - rest) / b) - (rest !== 0 && b < 0 !== rest < 0 ? 1 : 0);
    if (quotient === 0) return Object.is(Math.sign(a / b), 1) ? 0 : -0;
    const floor = Math.floor(quotient);
    return quotient - floor > 0.5 ? floor + 1 : floor;
  };
const big = (f: (a: bigint, b: bigint) => bigint): Binary => f as unknown as Binary;
const floorBig = big((a, b) => a / b - (a % b !== 0n && a < 0n !== b < 0n ? 1n : 0n));
const remainder: Binary = (a, b) => {
  const rest = a % b;
  return rest !== 0 && b < 0 !== rest < 0 ? rest + b : rest;
};
const remainderBig = big((a, b) => {
  const rest = a % b;
  return rest !== 0n && b < 0n !== rest < 0n ? rest + b : rest;
});
const modulo: Binary = (a, b) => a % b;
// C's pow says 1 where JavaScript's says NaN.
const power: Binary = (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b);
const powerBig = big((a, b) => {
  if (b >= 0n) return BigInt.asIntN(64, a ** (b > 128n ? 128n + (b % 2n) : b)); // past that only 1, 0 and -1 matter
  if (a === 0n) throw new ModelError("an integer is divided by zero");
  return a === 1n || (a === -1n && b % 2n === 0n) ? 1n : a === -1n ? -1n : 0n;
});
const powers: Forms<Binary> = {
  any: power,
  int32: (a, b) => Number(powerBig(BigInt(a) as never, BigInt(b) as never)),
  int64: powerBig,
};

const OUT = "out Scalar_out";
const TENSOR = "Tensor_out Scalar_out";
/** By name: overloads, of which those of Scalar take a number for the second operand, and what is computed. */
const ARITHMETIC: Record<string, [string, Binary | Forms<Binary>]> = {
  mul: [OUT, { any: (a, b) => a * b, int32: Math.imul }],
  remainder: [TENSOR, { any: remainder, int32: zeroCheck(remainder), int64: zeroCheck(remainderBig) }],
  fmod: [TENSOR, { any: modulo, int32: zeroCheck(modulo), int64: zeroCheck(modulo) }],
  pow: ["Tensor_Tensor_out Tensor_Scalar_out", powers],
  minimum: ["out", (a, b) => (b < a || Number.isNaN(b) ? b : a)],
  maximum: ["out", (a, b) => (b > a || Number.isNaN(b) ? b : a)],
  bitwise_and: [TENSOR, (a, b) => a & b],
  bitwise_or: [TENSOR, (a, b) => a | b],
  bitwise_xor: [TENSOR, (a, b) => a ^ b],
};
const COMPARISONS: Record<string, Binary> = {
  eq: (a, b) => +(a === b),
  ne: (a, b) => +(a !== b),
  lt: (a, b) => +(a < b),
  le: (a, b) => +(a <= b),
  gt: (a, b) => +(a > b),
  ge: (a, b) => +(a >= b),
};
const isTrue = (x: number): boolean => Number(x) !== 0; // NaN is
const LOGICAL: Record<string, Binary> = {
  logical_and: (a, b) => +(isTrue(a) && isTrue(b)),
  logical_or: (a, b) => +(isTrue(a) || isTrue(b)),
  logical_xor: (a, b) => +(isTrue(a) !== isTrue(b)),
};

/** A binary operator's overloads. */
function binary(
  name: string,
  overloads: string,
  kernel: (c: KernelCall, a: Operand, b: Operand) => void,
): [string, Kernel][] {
  return overloads
    .split(" ")
    .map((overload) => [
      `aten::${name}.${overload}`,
      (c) => kernel(c, c.tensor(0), overload.endsWith("Scalar_out") ? c.scalar(1) : c.tensor(1)),
    ]);
}

function addition(sign: 1 | -1): (c: KernelCall, a: Operand, b: Operand) => void {
  return (c, a, b) => {
    const dtype = promoted([a, b]);
    const within = wide(dtype);
    const scale = elements(c.scalar(2), within, [])[0];
    const f: Binary =
      within === "float32"
        ? (x, y) => x + sign * Math.fround(scale * y)
        : within === "int32"
          ? (x, y) => x + sign * Math.imul(scale, y)
          : within === "int64"
            ? big((x, y) => x + BigInt(sign) * BigInt(scale) * y)
            : (x, y) => x + sign * scale * y;
    each(c, 3, [a, b], dtype, f);
  };
}

/** Without a mode integers become floats. */
function division(c: KernelCall, a: Operand, b: Operand, mode?: string): void {
  const common = promoted([a, b]);
  const dtype = mode === undefined ? floating(common) : common;
  const round = dtype === "float64" ? (x: number): number => x : Math.fround;
  const modes: Record<string, Forms<Binary>> = {
    none: { any: (x, y) => x / y },
    floor: {
      any: floorDivide(round),
      int32: zeroCheck((x, y) => Math.floor(x / y)),
      int64: zeroCheck(floorBig),
    },
    trunc: {
      any: (x, y) => Math.trunc(round(x / y)),
      int32: zeroCheck((x, y) => Math.trunc(x / y)),
      int64: zeroCheck((x, y) => x / y),
    },
  };
  each(c, -1, [a, b], dtype, formOf(modes[mode ?? "none"], wide(dtype)));
}

// --- One operand ---

/** Of floats: integers become such. */
const FLOATS: Record<string, Unary> = {
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log10: Math.log10,
  log1p: Math.log1p,
  log2: Math.log2,
  sqrt: Math.sqrt,
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  asin: Math.asin,
  acos: Math.acos,
  atan: Math.atan,
  sinh: Math.sinh,
  cosh: Math.cosh,
  tanh: Math.tanh,
  rsqrt: (x) => 1 / Math.sqrt(x),
  reciprocal: (x) => 1 / x,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};
/** Of any dtype, which stays. */
const SAME: Record<string, Unary> = {
  abs: (x) => (x < 0 ? -x : typeof x === "number" ? x + 0 : x),
  neg: (x) => -x,
  relu: (x) => (Number.isNaN(x) || x > 0 ? x : ((typeof x === "number" ? 0 : 0n) as number)),
  floor: (x) => (typeof x === "number" ? Math.floor(x) : x),
  ceil: (x) => (typeof x === "number" ? Math.ceil(x) : x),
  trunc: (x) => (typeof x === "number" ? Math.trunc(x) : x),
  round: (x) => (typeof x === "number" ? roundEven(x) : x),
  sign: (x) => {
    const sign = +(x > 0) - +(x < 0); // 0 of NaN
    return typeof x === "number" ? sign : (BigInt(sign) as never);
  },
};
const TESTS: Record<string, Unary> = {
  logical_not: (x) => +!isTrue(x),
  isnan: (x) => +Number.isNaN(x),
  isinf: (x) => +(x === Infinity || x === -Infinity),
};

export function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5) return floor;
  if (rest > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

function unary(f: Unary, dtype: (own: DType) => DType, gives?: DType): Kernel {
  return (c) => each(c, 1, [c.tensor(0)], dtype(c.tensor(0).dtype), f, gives);
}

function elu(c: KernelCall): void {
  const x = c.tensor(0);
  const round = x.dtype === "float64" ? (v: number): number => v : Math.fround;
  const [alpha, scale, inner] = [1, 2, 3].map((i) => round(c.number(i)));
  const negative = round(alpha * scale);
  each(c, 4, [x], x.dtype, (v) => (v <= 0 ? round(Math.expm1(round(v * inner))) * negative : v * scale));
}

/** Erf by its series near zero and a continued fraction further out, to double's precision. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; ++n) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  if (a > 6) return Number.isNaN(x) ? x : Math.sign(x);
  let fraction = 0;
  for (let n = 60; n > 0; --n) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / ((a + fraction) * Math.sqrt(Math.PI)));
}

function gelu(c: KernelCall): void {
  const x = c.tensor(0);
  const inner = Math.sqrt(2 / Math.PI);
  const f: Unary =
    c.text(1) === "tanh"
      ? (v) => 0.5 * v * (1 + Math.tanh(inner * (v + 0.044715 * v ** 3)))
      : (v) => 0.5 * v * (1 + erf(v * Math.SQRT1_2));
  each(c, 2, [x], x.dtype, (v) => (v === -Infinity ? -0 : f(v)));
}

/** Between two bounds, of which either may be missing. */
function clamp(c: KernelCall, least: Operand | null, most: Operand | null, out: number): void {
  const x = c.tensor(0);
  const given = [least, most].filter((one) => one !== null);
  const dtype = promoted([x, ...given]);
  const low: Binary = (v, bound) => (Number.isNaN(v) || v >= bound ? v : bound);
  const high: Binary = (v, bound) => (Number.isNaN(v) || v <= bound ? v : bound);
  if (least !== null && most !== null) each(c, out, [x, least, most], dtype, (v, a, b) => high(low(v, a), b));
  else each(c, out, [x, ...given], dtype, least !== null ? low : high);
}
const bound = (c: KernelCall, i: number): Operand | null => (c.value(i) === null ? null : c.scalar(i));

/** Elements of one of two tensors, as a third says. */
function where(c: KernelCall, condition: Tensor, a: Operand, b: Operand, dtype: DType, out: number): void {
  const sizes = broadcastSizes(...[condition, a, b].map((one) => (one instanceof Tensor ? one.sizes : [])));
  const choose = broadcast(condition.data, condition.sizes, sizes);
  const [yes, no] = [a, b].map((one) =>
    one instanceof Tensor
      ? broadcast(cast(one.data, one.dtype, dtype), one.sizes, sizes)
      : broadcast(scalarArray(one, dtype), [], sizes),
  );
  const result = c.make(out, sizes, dtype);
  for (let i = 0; i < result.length; ++i) result[i] = choose[i] ? yes[i] : no[i];
  c.give(out, sizes, result, dtype);
}

export const ELEMENTWISE: Record<string, Kernel> = Object.fromEntries<Kernel>([
  ...binary("add", OUT, addition(1)),
  ...binary("sub", OUT, addition(-1)),
  ...binary("div", OUT, (c, a, b) => division(c, a, b)),
  ...Object.entries(ARITHMETIC).flatMap(([name, [overloads, form]]) =>
    binary(name, overloads, (c, a, b) => {
      const dtype = promoted([a, b]);
      each(c, 2, [a, b], dtype, formOf(forms(form), wide(dtype)));
    }),
  ),
  ...Object.entries(COMPARISONS).flatMap(([name, f]) =>
    binary(name, TENSOR, (c, a, b) => each(c, 2, [a, b], promoted([a, b]), f, "bool")),
  ),
  ...Object.entries(LOGICAL).flatMap(([name, f]) =>
    binary(name, "out", (c, a, b) => each(c, 2, [a, b], promoted([a, b]), f, "bool")),
  ),
  ...Object.entries(FLOATS).map(([name, f]): [string, Kernel] => [`aten::${name}.out`, unary(f, floating)]),
  ...Object.entries(SAME).map(([name, f]): [string, Kernel] => [`aten::${name}.out`, unary(f, (own) => own)]),
  ...Object.entries(TESTS).map(([name, f]): [string, Kernel] => [
    `aten::${name}.out`,
    unary(f, (own) => own, "bool"),
  ]),
  ["aten::div.out_mode", (c) => division(c, c.tensor(0), c.tensor(1), c.text(2))],
  ["aten::div.Scalar_mode_out", (c) => division(c, c.tensor(0), c.scalar(1), c.text(2))],
  ["aten::floor_divide.out", (c) => division(c, c.tensor(0), c.tensor(1), "floor")],
  ["aten::rsub.Scalar_out", (c) => addition(-1)(c, c.scalar(1), c.tensor(0))],
  [
    "aten::bitwise_not.out",
    (c) => {
      const x = c.tensor(0);
      each(c, 1, [x], x.dtype, x.dtype === "bool" ? (v) => +!v : (v) => ~v);
    },
  ],
  ["aten::elu.out", elu],
  ["aten::gelu.out", gelu],
  ["aten::erf.out", unary(erf, floating)],
  [
    "aten::leaky_relu.out",
    (c) => each(c, 2, [c.tensor(0), c.scalar(1)], c.tensor(0).dtype, (v, slope) => (v > 0 ? v : v * slope)),
  ],
  ["aten::clamp.out", (c) => clamp(c, bound(c, 1), bound(c, 2), 3)],
  ["aten::clamp.Tensor_out", (c) => clamp(c, c.optional(1) ?? null, c.optional(2) ?? null, 3)],
  ["aten::hardtanh.out", (c) => clamp(c, c.scalar(1), c.scalar(2), 3)],
  [
    "aten::where.self_out",
    (c) => {
      const [condition, a, b] = [c.tensor(0), c.tensor(1), c.tensor(2)];
      where(c, condition, a, b, promote(a.dtype, b.dtype), 3);
    },
  ],
  [
    "aten::masked_fill.Scalar_out",
    (c) => {
      const x = c.tensor(0);
      where(c, c.tensor(1), c.scalar(2), x, x.dtype, 3);
    },
  ],
]);
