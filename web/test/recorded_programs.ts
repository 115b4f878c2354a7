/** Whole programs with what eager gives, recorded by tests/python/web/test_mixed.py. */
import { Tensor } from "../src/tensor.ts";
import { bytesAt, type CallForm, tensorAt } from "./cases/files.ts";
import { recordings } from "./cases/folder.ts";
import { path } from "./support.ts";

export const programs = [
  ...recordings(process.env.ETWEBGPU_CASES ?? path("build/cases"), "programs"),
].flatMap(({ cases, binary }) => cases.map((form) => ({ name: form.name, form, binary })));

/** One of them: its file, and its calls with their results. */
export function recorded(name: string) {
  const { form, binary } = programs.find((one) => one.name === name)!;
  const inputs = ({ inputs }: CallForm) =>
    inputs.map((input) => {
      if (typeof input === "number") return input;
      const { data, sizes, dtype } = tensorAt(binary, input, input.range);
      return Tensor.of(data.slice(), sizes, dtype); // equal bytes are there once
    });
  return {
    file: bytesAt(binary, form.blob),
    calls: form.calls.map(inputs),
    expected: form.calls.map(({ outputs }) =>
      outputs.map((output) => tensorAt(binary, output!, output!.alternatives[0]).data),
    ),
  };
}
