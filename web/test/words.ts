/** Conversations in which every token is a word. */
import type { GenerateOptions, LanguageModel } from "../src/language_model.ts";
import type { Message, TokenizerFiles } from "../src/tokenizer.ts";

/** w0, w1 and so on. */
export function wordTokenizer(count: number): TokenizerFiles {
  const words = Object.fromEntries(Array.from({ length: count }, (_, i) => [`w${i}`, i]));
  return {
    json: {
      version: "1.0",
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: "WhitespaceSplit" },
      post_processor: null,
      decoder: null,
      model: { type: "WordLevel", vocab: words, unk_token: "w0" },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      chat_template: "{% for m in messages %}{{ m.content }} {% endfor %}",
    },
  };
}

export const said = (...tokens: readonly number[]): Message[] => [
  { role: "user", content: tokens.map((token) => `w${token}`).join(" ") },
];
export const ASKED = said(3, 1, 4);

export async function answer(
  model: LanguageModel,
  options: GenerateOptions,
  messages: readonly Message[] = ASKED,
): Promise<string> {
  let text = "";
  for await (const piece of model.generate(messages, options)) text += piece;
  return text;
}
