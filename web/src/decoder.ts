/** Which methods are language models: what LanguageModel can talk to, told from a program's head. */
import { elementCount } from "./elements.ts";
import { ModelError } from "./errors.ts";
import type { DType, ProgramMethod, ProgramValue } from "./forms.ts";
import type { Input } from "./method.ts";
import type { Constants } from "./refusals.ts";
import { Tensor } from "./tensor.ts";

/** The method that generates. */
export const DECODER = "forward";

export interface Decoder {
  /** Most tokens of a call. */
  longest: number;
  /** Tokens of a conversation at most. */
  context: number;
  /** Without a cache every call takes the whole text. */
  hasCache: boolean;
  /** Whether tokens are chosen where the logits are; else these come to the page, and it chooses. */
  choosesOnGpu: boolean;
  /** A call's. */
  inputs(tokens: readonly number[], position: number): Input[];
}

const isInteger = ({ dtype }: ProgramValue): boolean => dtype === "int64" || dtype === "int32";
const describe = ({ dtype, sizes }: ProgramValue): string =>
  dtype === undefined ? "a number" : `${dtype} [${sizes}]`;

/** For a method of tokens [1, S] and, unless it has no cache, a position, whose first output is logits. */
export function decoderOf(method: ProgramMethod, constants: Constants): Decoder {
  const { name, inputs, outputs } = method;
  const [tokens, position] = inputs;
  if (inputs.length > 2 || !isTokens(tokens) || !isPosition(position, tokens) || !isLogits(outputs[0]))
    throw new ModelError(
      `method '${name}' is no language model: it takes ${inputs.map(describe).join(" and ") || "nothing"} and gives ` +
        `${outputs.map(describe).join(" and ") || "nothing"}, not logits for tokens [1, S] and a position [1]`,
    );
  const longest = tokens.sizes?.[1] ?? 1;
  const hasCache = position !== undefined;
  if (!hasCache && tokens.dynamic !== true)
    throw new ModelError(
      `method '${name}' takes exactly ${longest} tokens and has no cache, so that nothing can follow them`,
    );
  const given = constants.get("get_max_context_len") ?? constants.get("get_max_seq_len");
  if (!hasCache && given === undefined)
    throw new ModelError(
      `method '${name}' takes tokens alone, as encoders do as well: a language model without a cache has get_max_seq_len`,
    );
  const most = longest + 1; // the last one is not fed
  const isOneDelegate =
    method.host === undefined && method.delegates.length === 1 && method.calls.length === 1;
  return {
    longest,
    context: typeof given === "number" ? (hasCache ? given : Math.min(given, most)) : most,
    hasCache,
    choosesOnGpu: isOneDelegate && hasCache && elementCount(position.sizes ?? []) === 1,
    inputs: (fed, at) => [
      Tensor.of(fed, [1, fed.length], tokens.dtype as DType),
      ...(hasCache ? [place(position, at, fed.length)] : []),
    ],
  };
}

/** That of a program, if it has one. */
export function findDecoder(methods: readonly ProgramMethod[], constants: Constants): Decoder | undefined {
  const method = methods.find(({ name }) => name === DECODER);
  try {
    return method && decoderOf(method, constants);
  } catch {
    return undefined;
  }
}

const isTokens = (value: ProgramValue | undefined): value is ProgramValue =>
  value !== undefined && isInteger(value) && value.sizes?.length === 2 && value.sizes[0] === 1;
const isLogits = (value: ProgramValue | undefined): boolean =>
  value?.dtype?.startsWith("float") === true && (value.sizes?.length ?? 0) > 0;

/** A number, the first token's place, or those of all. */
function isPosition(value: ProgramValue | undefined, tokens: ProgramValue): boolean {
  if (value === undefined || value.dtype === undefined) return true;
  const count = elementCount(value.sizes ?? []);
  return isInteger(value) && (count === 1 || (value.sizes?.length === 1 && count === tokens.sizes?.[1]));
}

function place({ dtype, sizes = [] }: ProgramValue, at: number, count: number): Input {
  if (dtype === undefined) return at;
  const isOfFirst = elementCount(sizes) === 1;
  const places = Array.from({ length: isOfFirst ? 1 : count }, (_, i) => at + i);
  return Tensor.of(places, isOfFirst ? sizes : [count], dtype as DType);
}
