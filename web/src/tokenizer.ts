/** A chat model's tokenizer: token ids, the chat template and text as it comes. */
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { errorText, ModelError } from "./errors.ts";

export interface Message {
  role: string;
  content: string;
}

/** tokenizer.json and tokenizer_config.json, as Hugging Face names them. */
export interface TokenizerFiles {
  json: object;
  config: object;
}

interface Config {
  chat_template?: string;
  bos_token?: string | { content: string };
  eos_token?: string | { content: string };
}

export class ChatTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #config: Config;
  readonly #template: Template | undefined;

  constructor({ json, config }: TokenizerFiles) {
    this.#config = config;
    try {
      this.#tokenizer = new Tokenizer(json, config);
      this.#template =
        this.#config.chat_template === undefined ? undefined : new Template(this.#config.chat_template);
    } catch (error) {
      throw new ModelError(`the tokenizer files cannot be used: ${errorText(error)}`, { cause: error });
    }
  }

  /** The token that ends an answer, if the configuration names one. */
  get eos(): number | undefined {
    const token = spelling(this.#config.eos_token);
    return token === "" ? undefined : this.#tokenizer.token_to_id(token);
  }

  /** Special tokens in the text are recognized. */
  encode(text: string): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }
  /** Without special tokens. */
  decode(ids: number[]): string {
    return ids.length === 0
      ? ""
      : this.#tokenizer.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }

  /** The conversation as the model was trained to see it, up to where it is to answer. */
  render(messages: readonly Message[]): string {
    if (this.#template === undefined) throw new ModelError("tokenizer_config.json has no chat_template");
    try {
      return this.#template.render({
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: true,
        bos_token: spelling(this.#config.bos_token),
        eos_token: spelling(this.#config.eos_token),
      });
    } catch (error) {
      throw new ModelError(`the model's chat template fails: ${errorText(error)}`, { cause: error });
    }
  }
}

const spelling = (token: string | { content: string } | undefined): string =>
  typeof token === "string" ? token : (token?.content ?? "");

/** Text of tokens as they come, without the bytes of an unfinished character. */
export class TextStream {
  readonly #tokenizer: ChatTokenizer;
  #ids: number[] = [];
  #given = 0; // characters of #ids' text that have been given

  constructor(tokenizer: ChatTokenizer) {
    this.#tokenizer = tokenizer;
  }

  push(token: number): string {
    this.#ids.push(token);
    const text = this.#tokenizer.decode(this.#ids);
    if (text.endsWith("\ufffd")) return "";
    const fresh = text.slice(this.#given);
    this.#given = text.length;
    // A line's end is a place to start anew, so that a long text is not decoded again and again.
    if (text.endsWith("\n")) {
      this.#ids = [];
      this.#given = 0;
    }
    return fresh;
  }

  finish(): string {
    const rest = this.#tokenizer.decode(this.#ids).slice(this.#given);
    this.#ids = [];
    this.#given = 0;
    return rest;
  }
}
