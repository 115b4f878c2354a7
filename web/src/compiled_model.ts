/** A delegate's model out of a compiled file: plans for some sizes, and no planner. */
import type { CompiledDelegate, CompiledFile, CompiledPlan, StoredForm } from "./compiled_file.ts";
import { ModelError } from "./errors.ts";
import type { Capabilities, Match, ModelForm, PackedForm, PlanForm } from "./forms.ts";
import type { LiveInput, PackingWindow, PassedValue, PlannedModel } from "./planned_model.ts";

export class CompiledModel implements PlannedModel {
  readonly form: ModelForm;
  readonly #delegate: CompiledDelegate;
  readonly #texts: readonly string[];
  readonly #uniforms: Uint8Array;
  readonly #scalars: Int32Array;
  #current: CompiledPlan | undefined;
  #window = new Uint8Array(0);

  constructor(delegate: CompiledDelegate, { form, uniforms }: Pick<CompiledFile, "form" | "uniforms">) {
    const { model } = delegate;
    this.#delegate = delegate;
    this.#texts = form.kernels;
    this.#uniforms = uniforms;
    this.form = { ...model, constants: model.constants.map(packed), states: model.states.map(packed) };
    this.#scalars = new Int32Array(model.scalars);
  }

  describe(): ModelForm {
    return this.form;
  }
  dispose(): void {}

  match(values: PassedValue[]): Match {
    const match = this.#delegate.matches.find((one) =>
      same(
        one.values,
        values.map(({ id }) => id),
      ),
    );
    if (match === undefined) throw new ModelError("the call was not compiled");
    return match;
  }

  prepare(inputs: readonly LiveInput[], wideIntegers: boolean): number {
    const plan = this.#planFor(inputs, wideIntegers);
    const values = plan.values.map((live) => liveValue(live, inputs));
    for (const [v, { input, least, most }] of plan.values.entries())
      if (!(values[v] >= least && values[v] <= most))
        throw new ModelError(
          `input ${input} is ${values[v]}, but with inputs of sizes ${sizesText(plan.sizes)} it may be ${least === most ? `${least} only` : `${least} to ${most}`}`,
        );
    for (const [slot, { base, factors }] of plan.scalars.entries())
      this.#scalars[slot] = factors.reduce((sum, factor, v) => sum + factor * values[v], base);
    this.#current = plan;
    return this.#delegate.plans.indexOf(plan) + 1;
  }

  #planFor(inputs: readonly LiveInput[], wideIntegers: boolean): CompiledPlan {
    const { plans } = this.#delegate;
    const ofSizes = plans.filter(({ sizes }) =>
      sizes.every((wanted, i) => wanted === null || same(wanted, inputs[i].sizes)),
    );
    if (ofSizes.length === 0) {
      const given = sizesText(inputs.map(({ sizes }, i) => (plans[0]?.sizes[i] === null ? null : sizes)));
      const there = [...new Set(plans.map(({ sizes }) => sizesText(sizes)))].join("; ") || "none";
      throw new ModelError(`no plan was compiled for inputs of sizes ${given}: there are ${there}`);
    }
    const plan = ofSizes.find(
      ({ wide_integers }) => wide_integers === null || wide_integers === wideIntegers,
    );
    if (plan === undefined)
      throw new ModelError(
        `no plan was compiled for inputs of sizes ${sizesText(ofSizes[0].sizes)} with ${wideIntegers ? 64 : 32}-bit integers`,
      );
    return plan;
  }

  plan(): PlanForm {
    return this.#current!.plan;
  }
  uniforms(): Uint8Array {
    const { uniforms, plan } = this.#current!;
    return this.#uniforms.subarray(uniforms, uniforms + plan.uniform_bytes);
  }

  kernel(index: number, dialect: Capabilities["dialect"]): string {
    const text = this.#texts[this.#delegate.kernels[index]!];
    // Naga has subgroups without saying so, and takes nobody who does.
    return dialect === "naga" ? text.replace("enable subgroups;\n", "") : text;
  }

  scalars(): Int32Array {
    return this.#scalars;
  }
  scalarOf(value: number): number {
    const slot = this.form.scalar_values.indexOf(value);
    if (slot < 0) throw new ModelError(`value ${value} of the graph is no live integer`);
    return this.#scalars[slot];
  }

  /** They are packed already. */
  windows(state: boolean, index: number, most: number): PackingWindow[] {
    const { bytes, parts } = this.form[state ? "states" : "constants"][index];
    const out: PackingWindow[] = [];
    for (let offset = 0; parts.length > 0 && offset < bytes; offset += most) {
      const size = Math.min(most, bytes - offset);
      const number = out.length;
      out.push({
        number,
        offset,
        size,
        part: 0,
        pieces: 1,
        stride: 0,
        ranges: [{ offset, size }],
      });
    }
    return out;
  }
  pack(
    _state: boolean,
    _index: number,
    most: number,
    { size }: PackingWindow,
    fill: (sources: Uint8Array) => void,
  ): Uint8Array<ArrayBuffer> {
    if (this.#window.byteLength < size) this.#window = new Uint8Array(Math.max(size, most));
    const out = this.#window.subarray(0, size);
    fill(out);
    return out;
  }
}

function packed<Form extends StoredForm>({ offset, ...form }: Form): Omit<Form, "offset"> & PackedForm {
  const { bytes } = form;
  const part = { key: "", offset: offset!, length: bytes, bytes, type: "uint8" as const, sizes: [bytes] };
  return { ...form, parts: offset === null ? [] : [part] };
}

function liveValue({ input, element }: CompiledPlan["values"][number], inputs: readonly LiveInput[]): number {
  const { scalar, elements } = inputs[input];
  return element === null ? scalar : (elements?.[element] ?? Number.NaN);
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((extent, d) => extent === b[d]);
const sizesText = (sizes: readonly (readonly number[] | null)[]): string =>
  sizes.map((one) => (one === null ? "an integer" : `[${one.join(", ")}]`)).join(", ");
