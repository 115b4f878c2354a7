/** Dtypes as ExecuTorch's portable kernels treat them: promotion, what is computed in, and casts. */
import { ARRAYS, isFloating, type TypedArray } from "../elements.ts";
import type { DType } from "../forms.ts";
import { floatToHalf, halfToFloat } from "../half.ts";

/** As programs have them: integers, floats and flags are kinds of their own, of which dtypes follow. */
export type Scalar = bigint | number | boolean;

// The wider of two of a kind comes later; 8-bit integers with and without a sign meet in int32.
const ORDER: DType[] = ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"];

export function promote(a: DType, b: DType): DType {
  if (a !== b && a.endsWith("int8") && b.endsWith("int8")) return "int32";
  return ORDER[Math.max(ORDER.indexOf(a), ORDER.indexOf(b))];
}

/** A scalar changes the dtype only where it is of a higher kind. */
export function promoteScalar(dtype: DType, scalar: Scalar): DType {
  if (typeof scalar === "number") return isFloating(dtype) ? dtype : "float32";
  return typeof scalar === "bigint" && dtype === "bool" ? "int64" : dtype;
}

/** What numbers of a dtype are computed in. */
export type Wide = "int32" | "int64" | "float32" | "float64";

export function wide(dtype: DType): Wide {
  if (dtype === "float16") return "float32";
  return dtype === "int64" || dtype === "float32" || dtype === "float64" ? dtype : "int32";
}

/** Elements that read as JavaScript's numbers: of all but int64, which is left to those who expect bigints. */
export const readable = (data: TypedArray, from: DType): TypedArray =>
  from === "float16" ? Float32Array.from(data as Uint16Array, halfToFloat) : data;

/** As C++ on x86 casts: toward zero, and what does not fit is the least number. */
const toInt32 = (value: number): number =>
  value > -2147483649 && value < 2147483648 ? Math.trunc(value) : -2147483648;
const LEAST = -(2n ** 63n);
const toInt64 = (value: number): bigint =>
  value >= -(2 ** 63) && value < 2 ** 63 ? BigInt(Math.trunc(value)) : LEAST;

/** Elements of another dtype; the same array if it is the same. */
export function cast(data: TypedArray, from: DType, to: DType): TypedArray {
  if (from === to) return data;
  const out = new ARRAYS[to](data.length);
  const count = data.length;
  const source = readable(data, from);
  if (out instanceof BigInt64Array) {
    for (let i = 0; i < count; ++i)
      out[i] = isFloating(from) ? toInt64(source[i] as number) : BigInt(source[i]);
  } else if (to === "bool") {
    for (let i = 0; i < count; ++i) out[i] = Number(source[i]) !== 0 ? 1 : 0; // so NaN is true
  } else if (isFloating(to)) {
    const half = to === "float16";
    for (let i = 0; i < count; ++i) out[i] = half ? floatToHalf(Number(source[i])) : Number(source[i]);
  } else if (source instanceof BigInt64Array) {
    for (let i = 0; i < count; ++i) out[i] = Number(BigInt.asIntN(32, source[i]));
  } else {
    const real = isFloating(from);
    for (let i = 0; i < count; ++i) out[i] = real ? toInt32(source[i] as number) : (source[i] as number);
  }
  return out;
}

/** A scalar as an element of a dtype, in an array of one. */
export function scalarArray(scalar: Scalar, dtype: DType): TypedArray {
  const [data, from] = scalarData(scalar);
  return cast(data, from, dtype);
}

export function scalarData(scalar: Scalar): [TypedArray, DType] {
  if (typeof scalar === "bigint") return [BigInt64Array.of(scalar), "int64"];
  return typeof scalar === "number" ? [Float64Array.of(scalar), "float64"] : [Uint8Array.of(+scalar), "bool"];
}
