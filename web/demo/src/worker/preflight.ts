/** Whether a program runs here, what it fetches and how much memory it takes, before its weights are fetched. */
import { type Core, type Gpu, Program } from "executorch-webgpu";
import type { ModelFiles, Preflight } from "../protocol.ts";
import { kindOf, pictureOf } from "./model.ts";

const IN_THE_PAGE =
  "It is more than one delegate's graph: each step's logits come to the page, which chooses the token";

export async function check(
  core: Core,
  gpu: Gpu,
  { program, data }: ModelFiles,
  signal: AbortSignal,
): Promise<Preflight> {
  const notices: string[] = [];
  const { problems, warnings, weights, memory, signatures, constants, chat } = await Program.check(program, {
    core,
    gpu,
    data,
    signal,
    onNotice: (text) => notices.push(text),
  });
  const { kind, method } = kindOf(signatures, chat !== undefined);
  const context = constants.get("get_max_seq_len");
  const picture = method && pictureOf(method);
  return {
    kind,
    problems,
    warnings: [...warnings, ...notices, ...(chat === "in the page" ? [IN_THE_PAGE] : [])],
    weights,
    memory,
    ...(typeof context === "number" && { context }),
    ...(picture && { picture }),
  };
}
