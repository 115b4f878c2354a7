/** What the commands for decoders take. */
import { parseArgs } from "node:util";
import type { DecodeOptions } from "./decoding.ts";

interface Arguments {
  options: DecodeOptions;
  positionals: string[];
  chromium: string;
  gpu: boolean;
  /** Of peers.ts, for adapters on which all of them would take too long. */
  layers: number;
  rounds: number;
  /** Of peers.ts, with commas between them; all unless it is given. */
  systems: string[] | undefined;
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
      gpu: { type: "boolean", default: false },
      layers: { type: "string", default: "30" },
      rounds: { type: "string", default: "3" },
      systems: { type: "string" },
    },
  });
  const { chromium, gpu, f16, systems } = values;
  const [tokens, at, prompt, layers, rounds] = (["tokens", "at", "prompt", "layers", "rounds"] as const).map(
    (name) => Number(values[name]),
  );
  const options = { tokens, at, prompt, f16 };
  return { options, positionals, chromium, gpu, layers, rounds, systems: systems?.split(",") };
}

/** Chromium's, for a WebGPU on the machine's GPU through Vulkan or on its processor. */
export function chromiumFlags(gpu: boolean): string[] {
  const adapter = gpu
    ? [
        "--ignore-gpu-blocklist",
        "--enable-features=Vulkan",
        "--use-angle=vulkan",
        "--disable-vulkan-surface",
        "--enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
      ]
    : ["--use-webgpu-adapter=swiftshader"];
  const given = process.env.CHROMIUM_FLAGS?.split(" ") ?? [];
  return ["--no-sandbox", "--enable-unsafe-webgpu", ...adapter, ...given];
}
