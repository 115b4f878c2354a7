/** When an output is right: tests/python/support/expected.py is the definition. */
import { isFloating } from "../../src/elements.ts";
import { halfToFloat } from "../../src/half.ts";
import type { Tensor } from "../../src/tensor.ts";
import { type OutputForm, tensorAt } from "./files.ts";

const SMALLEST = 2 ** -126; // that is normal in f32

/** What is wrong with an output, if anything. */
export function difference(got: Tensor, output: OutputForm, binary: ArrayBuffer): string | undefined {
  if (String(got.sizes) !== String(output.sizes)) return `[${got.sizes}] != [${output.sizes}]`;
  if (family(got.dtype) !== family(output.dtype)) return `${got.dtype} != ${output.dtype}`;
  const alternatives = output.alternatives.map((range) => numbers(tensorAt(binary, output, range)));
  const signed =
    output.signed && tensorAt(binary, { dtype: "bool", sizes: output.sizes }, output.signed).data;
  const values = numbers(got);
  const first = alternatives[0];
  const wrong: number[] = [];
  for (let i = 0; i < values.length; ++i) {
    const agrees = alternatives.some((expected) => isClose(values[i], expected[i], output));
    const otherSign = signed?.[i] && values[i] === 0 && isNegative(values[i]) !== isNegative(first[i]);
    if (!agrees || otherSign) wrong.push(i);
  }
  if (wrong.length === 0) return undefined;
  const largest = Math.max(...wrong.map((i) => Math.abs(Number(values[i]) - Number(first[i]))));
  return (
    `[${output.sizes}]: ${wrong.length} of ${values.length} elements differ, first at ${wrong[0]}: ` +
    `got ${values[wrong[0]]}, expected ${first[wrong[0]]}, largest difference ${largest.toPrecision(3)}`
  );
}

function isClose(got: number | bigint, expected: number | bigint, output: OutputForm): boolean {
  if (got === expected) return true;
  if (typeof got === "bigint" || typeof expected === "bigint" || !isFloating(output.dtype)) return false;
  if (Number.isNaN(got) || Number.isNaN(expected)) return Number.isNaN(got) && Number.isNaN(expected);
  // What rounds to the smallest normal number may have been taken for zero before.
  if (output.subnormal_zeros && Math.abs(got) <= SMALLEST && Math.abs(expected) <= SMALLEST) return true;
  return (
    Number.isFinite(expected) &&
    Math.abs(got - expected) <= output.absolute + output.relative * Math.abs(expected)
  );
}

const isNegative = (value: number | bigint): boolean => value < 0 || Object.is(value, -0);

// Where 32-bit integers are expected, 64-bit ones will do, and the reverse.
const family = (dtype: string): string => (dtype === "int64" ? "int32" : dtype);

/** Integers of 64 bits as numbers where those are exact. */
function numbers({ dtype, data }: Tensor): ArrayLike<number | bigint> {
  if (data instanceof BigInt64Array)
    return Array.from(data, (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value));
  return dtype === "float16" ? Float64Array.from(data as Uint16Array, halfToFloat) : data;
}
