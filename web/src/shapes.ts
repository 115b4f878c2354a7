/** Checks that JSON from a file is what its types say. */
import { ModelError } from "./errors.ts";

/** Throws where `value` is something else; `where` names it. */
export type Shape = (value: unknown, where: string) => void;

function wrong(where: string, wanted: string): never {
  throw new ModelError(`${where} is not ${wanted}`);
}

const of =
  (wanted: string, test: (value: unknown) => boolean): Shape =>
  (value, where) => {
    if (!test(value)) wrong(where, wanted);
  };

export const anything: Shape = () => {};
export const text = of("a text", (value) => typeof value === "string");
export const flag = of("true or false", (value) => typeof value === "boolean");
export const integer = of("a whole number", Number.isSafeInteger);
/** From 0 to `most`. */
export const upTo = (most: number): Shape =>
  of(`a number from 0 to ${most}`, (value) => Number.isSafeInteger(value) && +value! >= 0 && +value! <= most);
/** The place of one of `items`. */
export const placeIn = (items: { length: number }): Shape => upTo(items.length - 1);
export const count = upTo(Number.MAX_SAFE_INTEGER);
export const oneOf = (...values: unknown[]): Shape =>
  of(`one of ${values.join(", ")}`, (value) => values.includes(value));

export const orNull =
  (shape: Shape): Shape =>
  (value, where) => {
    if (value !== null) shape(value, where);
  };
export const optional =
  (shape: Shape): Shape =>
  (value, where) => {
    if (value !== undefined) shape(value, where);
  };

/** `length` of them, if that is given. */
export const list =
  (shape: Shape, length?: number): Shape =>
  (value, where) => {
    if (!Array.isArray(value)) wrong(where, "a list");
    if (length !== undefined && value.length !== length) wrong(where, `a list of ${length}`);
    for (const [i, item] of value.entries()) shape(item, `${where}[${i}]`);
  };

export const record =
  (members: Record<string, Shape>): Shape =>
  (value, where) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) wrong(where, "an object");
    for (const name in members)
      members[name]((value as Record<string, unknown>)[name], where === "" ? name : `${where}.${name}`);
  };
