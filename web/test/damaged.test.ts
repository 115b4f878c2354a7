/** Programs with kernels on the CPU whose bytes are damaged: a sentence or a result, and a usable page. */
import { afterAll, expect, test } from "vitest";
import { ModelError, Program } from "../src/index.ts";
import { bytesAt, type CaseForm, tensorAt } from "./cases/files.ts";
import { recordings } from "./cases/folder.ts";
import { loadCore, openGpu, path } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
afterAll(() => gpu.device.destroy());

const folder = process.env.ETWEBGPU_CASES ?? path("build/cases");

/** Always the same numbers below `most`. */
function random(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

/** Loads and calls it: what is thrown, if anything. */
async function outcome(file: Uint8Array, form: CaseForm, binary: ArrayBuffer): Promise<unknown> {
  let program: Program | undefined;
  try {
    program = await Program.load(file, { core, gpu, selfTest: false });
    const inputs = form.calls[0].inputs.map((input) =>
      typeof input === "number" ? input : tensorAt(binary, input, input.range),
    );
    await program.method("forward").execute(inputs);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    await program?.dispose();
  }
}

test.each(["kernels", "programs"] as const)("damaged %s", async (kind) => {
  const next = random(7);
  const found = { ran: 0, refused: 0 };
  for (const { cases, binary } of recordings(folder, kind)) {
    // Delegates that are damaged are others' tests.
    const forms = cases.filter(({ name }) => kind === "kernels" || ["either", "counter"].includes(name));
    const rounds = kind === "kernels" ? 1500 : 600;
    for (let i = 0; i < rounds; ++i) {
      const form = forms[next(forms.length)];
      const file = bytesAt(binary, form.blob).slice();
      for (let edits = 1 + next(3); edits > 0; --edits) {
        const at = 48 + 4 * next(Math.floor((file.byteLength - 52) / 4));
        const value = [next(16), 255, 127, next(256)][next(4)];
        file[at + next(4)] = value;
      }
      const error = await outcome(file, form, binary);
      if (error === undefined) ++found.ran;
      else {
        expect(error, `${form.name}, round ${i}`).toBeInstanceOf(ModelError);
        expect((error as Error).message.length, `${form.name}, round ${i}`).toBeGreaterThan(20);
        ++found.refused;
      }
    }
    for (const form of forms.slice(0, 20))
      if (form.calls[0].error === null)
        expect(await outcome(bytesAt(binary, form.blob), form, binary)).toBeUndefined();
  }
  expect(found.ran).toBeGreaterThan(50);
  expect(found.refused).toBeGreaterThan(50);
  console.log(found);
});
