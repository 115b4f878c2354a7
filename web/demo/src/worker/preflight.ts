/** What a program needs, from its first kilobytes: whether it runs here, what it fetches and how much memory it takes. */
import type { Core, Gpu } from "executorch-webgpu";
import { ProgramFiles } from "../../../src/program.ts";
import type { ModelFiles, Preflight } from "../protocol.ts";
import { kindOf, pictureOf } from "./model.ts";

export async function check(
  core: Core,
  _gpu: Gpu,
  files: ModelFiles,
  signal: AbortSignal,
): Promise<Preflight> {
  const opened = await ProgramFiles.open(core, files.program, files.data, undefined, signal);
  const forms = opened.form.methods;
  const running = forms.filter(({ calls, kernel_calls }) => calls.length + kernel_calls > 0);
  const problems = running.flatMap(({ name, kernels, delegates }) => [
    ...(kernels.length > 0
      ? [
          `Method '${name}' leaves ${kernels.join(", ")} to ExecuTorch's own kernels, which are not in the browser.`,
        ]
      : []),
    ...delegates
      .filter(({ backend }) => backend !== "VulkanBackend")
      .map(({ backend }) => `Method '${name}' has a delegate for ${backend}, not for VulkanBackend.`),
  ]);
  if (running.length === 0) problems.push("The program has no method that runs.");
  const { kind, method } = kindOf(running);
  const context = forms.find(({ name }) => name === "get_max_seq_len")?.outputs[0]?.value;
  const picture = method && pictureOf(method);
  return {
    kind,
    problems,
    warnings: [],
    toFetch: opened.source.size,
    memory: { weights: opened.source.size, states: 0, activations: 0 },
    ...(typeof context === "number" && { context }),
    ...(picture && { picture }),
  };
}
