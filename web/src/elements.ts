/**
 * Elements as JavaScript has them and as the GPU stores them (src/base/elements.h does the same natively).
 * f16 tensors are Uint16Arrays of bits or, where they exist, Float16Arrays.
 */
import { ModelError } from "./errors.ts";
import type { DType, Storage } from "./forms.ts";
import { floatToHalf, halfToFloat } from "./half.ts";

export type TypedArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array;

export const ARRAYS = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
} as const;

const DTYPE_BYTES: Record<DType, number> = {
  bool: 1,
  uint8: 1,
  int8: 1,
  int32: 4,
  float16: 2,
  float32: 4,
  float64: 8,
  int64: 8,
};
const STORAGE_BYTES: Record<Storage, number> = { f32: 4, i32: 4, i64: 8, "half-pairs": 2, bytes: 1 };

export const dtypeBytes = (dtype: DType): number => DTYPE_BYTES[dtype];
/** Bytes of so many stored elements: whole words. */
export const storageBytes = (storage: Storage, count: number): number =>
  Math.ceil((STORAGE_BYTES[storage] * count) / 4) * 4;
export const elementCount = (sizes: readonly number[]): number =>
  sizes.reduce((product, size) => product * size, 1);
export const isFloating = (dtype: DType): boolean => dtype.startsWith("float");
export const isKnownStorage = (storage: string): storage is Storage => Object.hasOwn(STORAGE_BYTES, storage);

/** The dtype of an array, where only one has it. */
export function dtypeOf(data: TypedArray | readonly number[], expected: DType): DType {
  if (Array.isArray(data)) return expected;
  if (ARRAYS[expected] === data.constructor) return expected;
  if (data.constructor.name === "Float16Array") return "float16";
  const found = (Object.keys(ARRAYS) as DType[]).find((dtype) => ARRAYS[dtype] === data.constructor);
  if (found === undefined) throw new ModelError(`a tensor's data cannot be a ${data.constructor.name}`);
  return found;
}

export function arrayOf(dtype: DType, data: readonly number[]): TypedArray {
  if (dtype === "int64") return BigInt64Array.from(data, BigInt);
  if (dtype === "float16") return Uint16Array.from(data, floatToHalf);
  if (dtype === "bool") return Uint8Array.from(data, (value) => (value ? 1 : 0));
  return ARRAYS[dtype].from(data as number[]);
}

/** The bytes in memory of a typed array. */
export const bytesOf = (data: ArrayBufferView): Uint8Array<ArrayBuffer> =>
  new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);

/** Elements as they are stored; `what` is named where an integer does not fit. */
export function store(
  what: string,
  dtype: DType,
  data: TypedArray,
  storage: Storage,
): Uint8Array<ArrayBuffer> {
  const out = new ArrayBuffer(storageBytes(storage, data.length));
  const value = (i: number): number => (dtype === "float16" ? halfToFloat(Number(data[i])) : Number(data[i]));
  switch (storage) {
    case "f32":
      if (data instanceof Float32Array) return bytesOf(data);
      fill(new Float32Array(out), data.length, value);
      break;
    case "i32":
      if (data instanceof Int32Array) return bytesOf(data);
      if (data instanceof BigInt64Array) checkFits(what, data);
      fill(new Int32Array(out), data.length, dtype === "bool" ? (i) => (data[i] ? 1 : 0) : value);
      break;
    case "i64":
      if (data instanceof BigInt64Array) return bytesOf(data);
      new BigInt64Array(out).set(Array.from(data, (element) => BigInt(element)));
      break;
    case "half-pairs":
      if (dtype === "float16") new Uint16Array(out).set(data as Uint16Array);
      else
        fill(new Uint16Array(out), data.length, (i) =>
          floatToHalf(Math.max(-65504, Math.min(65504, value(i)))),
        );
      break;
    case "bytes":
      fill(new Int8Array(out), data.length, dtype === "bool" ? (i) => (data[i] ? 1 : 0) : value);
  }
  return new Uint8Array(out);
}

function fill(
  out: Float32Array | Int32Array | Uint16Array | Int8Array,
  count: number,
  value: (i: number) => number,
): void {
  for (let i = 0; i < count; ++i) out[i] = value(i);
}

function checkFits(what: string, data: BigInt64Array): void {
  const at = data.findIndex((value) => BigInt.asIntN(32, value) !== value);
  if (at >= 0) throw new ModelError(`${what}: element ${at} is ${data[at]}, which does not fit int32`);
}

/** Integers for the planner. */
export function toInt32(what: string, data: TypedArray): Int32Array {
  if (data instanceof BigInt64Array) checkFits(what, data);
  return Int32Array.from(data, Number);
}

/** The reverse: `count` elements of the dtype out of stored bytes, which stay the caller's. */
export function load(
  stored: Uint8Array<ArrayBuffer>,
  count: number,
  storage: Storage,
  dtype: DType,
): TypedArray {
  const out = new ARRAYS[dtype](count);
  const value = reader(stored.buffer, stored.byteOffset, count, storage, dtype);
  if (out instanceof BigInt64Array) {
    if (storage === "i64") bytesOf(out).set(stored.subarray(0, 8 * count));
    else for (let i = 0; i < count; ++i) out[i] = BigInt(value(i));
  } else if ((storage === "f32" && dtype === "float32") || (storage === "i32" && dtype === "int32")) {
    bytesOf(out).set(stored.subarray(0, 4 * count));
  } else if (dtype === "float16" && storage !== "half-pairs") {
    for (let i = 0; i < count; ++i) out[i] = floatToHalf(value(i));
  } else {
    for (let i = 0; i < count; ++i) out[i] = value(i);
  }
  return out;
}

function reader(
  buffer: ArrayBuffer,
  at: number,
  count: number,
  storage: Storage,
  dtype: DType,
): (i: number) => number {
  switch (storage) {
    case "f32": {
      const words = new Float32Array(buffer, at, count);
      return (i) => words[i];
    }
    case "i32": {
      const words = new Int32Array(buffer, at, count);
      return (i) => words[i];
    }
    case "i64": {
      const words = new Int32Array(buffer, at, 2 * count);
      return (i) => words[2 * i];
    }
    case "half-pairs": {
      const halves = new Uint16Array(buffer, at, count);
      return dtype === "float16" ? (i) => halves[i] : (i) => halfToFloat(halves[i]);
    }
    case "bytes": {
      const bytes = dtype === "int8" ? new Int8Array(buffer, at, count) : new Uint8Array(buffer, at, count);
      return (i) => bytes[i];
    }
  }
}
