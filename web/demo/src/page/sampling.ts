/** How the next token is chosen. */
import type { Sampling } from "../protocol.ts";
import { element } from "./dom.ts";

const FIELDS = [
  {
    name: "temperature",
    label: "Temperature",
    min: 0,
    max: 2,
    step: 0.1,
    value: 0,
    hint: "0: always the likeliest",
  },
  { name: "topK", label: "Top k", min: 0, max: 200, step: 1, value: 40, hint: "0: all tokens" },
  { name: "topP", label: "Top p", min: 0, max: 1, step: 0.05, value: 1, hint: "share of probability" },
  { name: "minP", label: "Min p", min: 0, max: 1, step: 0.01, value: 0, hint: "share of the likeliest" },
  {
    name: "repetitionPenalty",
    label: "Repetition",
    min: 1,
    max: 2,
    step: 0.05,
    value: 1,
    hint: "1: no penalty",
  },
  { name: "maxTokens", label: "Most tokens", min: 1, max: 8192, step: 1, value: 256, hint: "of an answer" },
] as const;

export class SamplingForm {
  readonly element = element("details", { class: "settings" }, element("summary", {}, "Sampling"));
  readonly #inputs = new Map<string, HTMLInputElement>();

  constructor() {
    for (const { name, label, hint, ...range } of FIELDS) {
      const input = element("input", { type: "number", id: `sampling-${name}` });
      for (const [key, value] of Object.entries(range)) input.setAttribute(key, String(value));
      this.#inputs.set(name, input);
      const text = element("label", { for: input.id }, label, element("small", {}, hint));
      this.element.append(element("div", { class: "field" }, text, input));
    }
  }

  /** Fields that are empty or out of range count as they were at first. */
  read(): Sampling {
    const value = (name: string, otherwise: number): number => {
      const input = this.#inputs.get(name);
      return input?.validity.valid && input.value !== "" ? input.valueAsNumber : otherwise;
    };
    return Object.fromEntries(
      FIELDS.map((field) => [field.name, value(field.name, field.value)]),
    ) as unknown as Sampling;
  }
}
