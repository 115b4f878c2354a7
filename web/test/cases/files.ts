/** Recorded cases: tests/python/support/case_files.py describes the files. */
import { ARRAYS, elementCount } from "../../src/elements.ts";
import type { DType, ModelOptions } from "../../src/forms.ts";
import { Tensor } from "../../src/tensor.ts";

/** Offset and size in the binary file. */
export type Range = [number, number];

export interface Kind {
  dtype: DType;
  sizes: number[];
}

export interface OutputForm extends Kind {
  alternatives: Range[];
  relative: number;
  absolute: number;
  subnormal_zeros: boolean;
  signed: Range | null;
}

export interface CallForm {
  inputs: (number | (Kind & { range: Range }))[];
  outputs: (OutputForm | null)[];
  error: string | null;
}

export interface CaseForm {
  name: string;
  options: ModelOptions & { trusted?: string };
  matrices: boolean;
  blob: Range;
  data: Record<string, Range>;
  error: string | null;
  calls: CallForm[];
}

export interface Recording {
  cases: CaseForm[];
  binary: ArrayBuffer;
}

const VERSION = 1;

/** A pair of files. */
export function recording(name: string, text: string, binary: ArrayBuffer): Recording {
  const { version, cases } = JSON.parse(text) as { version: number; cases: CaseForm[] };
  if (version !== VERSION) throw new Error(`${name} has version ${version}, this reads ${VERSION}`);
  return { cases, binary };
}

export const bytesAt = (binary: ArrayBuffer, [offset, size]: Range): Uint8Array =>
  new Uint8Array(binary, offset, size);

export function tensorAt(binary: ArrayBuffer, { dtype, sizes }: Kind, [offset]: Range): Tensor {
  return Tensor.of(new ARRAYS[dtype](binary, offset, elementCount(sizes)), sizes, dtype);
}
