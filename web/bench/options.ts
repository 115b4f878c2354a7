/** What the commands for decoders take. */
import { parseArgs } from "node:util";
import type { DecodeOptions } from "./decoding.ts";

export function decodeArguments(): { options: DecodeOptions; positionals: string[]; chromium: string } {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      tokens: { type: "string", default: "128" },
      at: { type: "string", default: "128" },
      prompt: { type: "string", default: "512" },
      f16: { type: "boolean", default: false },
      chromium: { type: "string", default: "/usr/bin/chromium" },
    },
  });
  const { tokens, at, prompt, f16, chromium } = values;
  const options = { tokens: Number(tokens), at: Number(at), prompt: Number(prompt), f16 };
  return { options, positionals, chromium };
}
