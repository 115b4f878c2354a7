/** Kernels over numbers: sizes and positions that a program computes. */
import { elementCount, isFloating } from "../elements.ts";
import { ModelError } from "../errors.ts";
import type { Kernel } from "./call.ts";
import { readable, type Scalar } from "./dtypes.ts";
import { roundEven } from "./elementwise.ts";
import { dimension } from "./strided.ts";

/** Of two integers or, if one is a float, of two floats. */
function both(
  name: string,
  ints: (a: bigint, b: bigint) => Scalar,
  floats: (a: number, b: number) => Scalar,
): [string, Kernel] {
  return [
    `executorch_prim::${name}`,
    (c) => {
      const [a, b] = [c.scalar(0), c.scalar(1)];
      const isInteger = typeof a !== "number" && typeof b !== "number";
      c.set(2, isInteger ? wrap(ints(BigInt(a), BigInt(b))) : floats(Number(a), Number(b)));
    },
  ];
}
const wrap = (value: Scalar): Scalar => (typeof value === "bigint" ? BigInt.asIntN(64, value) : value);

function nonZero(b: bigint): bigint {
  if (b === 0n) throw new ModelError("an integer is divided by zero");
  return b;
}

const greater = (a: bigint, b: bigint): bigint => {
  if (a > b) return a;
  return b;
};

const toInteger = (x: Scalar, round: (x: number) => number): bigint => {
  if (typeof x !== "number") return BigInt(x);
  const rounded = round(x);
  if (!(Math.abs(rounded) < 2 ** 63)) throw new ModelError(`${x} is no integer of 64 bits`);
  return BigInt(rounded);
};
const rounded = (name: string, round: (x: number) => number): [string, Kernel] => [
  `executorch_prim::${name}`,
  (c) => c.set(1, toInteger(c.scalar(0), round)),
];

export const SCALARS: Record<string, Kernel> = Object.fromEntries<Kernel>([
  both(
    "add.Scalar",
    (a, b) => a + b,
    (a, b) => a + b,
  ),
  both(
    "sub.Scalar",
    (a, b) => a - b,
    (a, b) => a - b,
  ),
  both(
    "mul.Scalar",
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  both(
    "mod.int",
    (a, b) => a % nonZero(b),
    (a, b) => a % b,
  ),
  both(
    "mod.Scalar",
    (a, b) => a % nonZero(b),
    (a, b) => a % b,
  ),
  both(
    "floordiv.Scalar",
    (a, b) => a / nonZero(b) - (a % b !== 0n && a < 0n !== b < 0n ? 1n : 0n),
    (a, b) => Math.floor(a / b),
  ),
  both(
    "truediv.Scalar",
    (a, b) => Number(a) / Number(b),
    (a, b) => a / b,
  ),
  both("sym_max.Scalar", greater, Math.max),
  both("sym_min.Scalar", (a, b) => -greater(-a, -b), Math.min),
  both(
    "eq.Scalar",
    (a, b) => a === b,
    (a, b) => a === b,
  ),
  both(
    "lt.Scalar",
    (a, b) => a < b,
    (a, b) => a < b,
  ),
  both(
    "le.Scalar",
    (a, b) => a <= b,
    (a, b) => a <= b,
  ),
  both(
    "gt.Scalar",
    (a, b) => a > b,
    (a, b) => a > b,
  ),
  both(
    "ge.Scalar",
    (a, b) => a >= b,
    (a, b) => a >= b,
  ),
  rounded("ceil.Scalar", Math.ceil),
  rounded("round.Scalar", roundEven),
  rounded("trunc.Scalar", Math.trunc),
  ["executorch_prim::sym_float.Scalar", (c) => c.set(1, c.number(0))],
  ["executorch_prim::sym_not.Scalar", (c) => c.set(1, !c.flag(0))],
  [
    "executorch_prim::neg.Scalar",
    (c) => {
      const x = c.scalar(0);
      c.set(1, typeof x === "number" ? -x : BigInt.asIntN(64, -BigInt(x)));
    },
  ],
  [
    "aten::sym_size.int",
    (c) => {
      const { sizes } = c.tensor(0);
      c.set(2, BigInt(sizes[dimension(c.int(1), sizes.length)] ?? 1));
    },
  ],
  ["aten::sym_numel", (c) => c.set(1, BigInt(elementCount(c.tensor(0).sizes)))],
  [
    "aten::_local_scalar_dense",
    (c) => {
      const { data, dtype } = c.tensor(0);
      if (data.length < 1) throw new ModelError("there is no element to take");
      const [element] = readable(data.subarray(0, 1), dtype);
      c.set(1, dtype === "bool" ? Boolean(element) : isFloating(dtype) ? Number(element) : BigInt(element));
    },
  ],
]);
