/** ExecuTorch's own kernels in TypeScript, by the names that programs call them by. */
import { ATTENTION } from "./attention.ts";
import type { Kernel } from "./call.ts";
import { ELEMENTWISE } from "./elementwise.ts";
import { INDEXING } from "./indexing.ts";
import { MOVEMENT } from "./movement.ts";
import { QUANTIZED } from "./quantized.ts";
import { REDUCTIONS } from "./reductions.ts";
import { SCALARS } from "./scalars.ts";
import { WINDOWS } from "./windows.ts";

export const KERNELS: ReadonlyMap<string, Kernel> = new Map(
  Object.entries({
    ...ATTENTION,
    ...ELEMENTWISE,
    ...INDEXING,
    ...MOVEMENT,
    ...QUANTIZED,
    ...REDUCTIONS,
    ...SCALARS,
    ...WINDOWS,
  }),
);
