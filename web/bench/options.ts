/** What the commands for decoders take. */
import { parseArgs } from "node:util";
import type { DecodeOptions } from "./decoding.ts";

interface Arguments {
  options: DecodeOptions;
  positionals: string[];
  chromium: string;
  /** A folder of the page's with an ONNX model, for transformers.js. */
  peer?: string | undefined;
}

export function decodeArguments(): Arguments {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      tokens: { type: "string", default: "128" },
      at: { type: "string", default: "128" },
      prompt: { type: "string", default: "512" },
      f16: { type: "boolean", default: false },
      chromium: { type: "string", default: "/usr/bin/chromium" },
      peer: { type: "string" },
    },
  });
  const { tokens, at, prompt, f16, chromium, peer } = values;
  const options = { tokens: Number(tokens), at: Number(at), prompt: Number(prompt), f16 };
  return { options, positionals, chromium, peer };
}
