/** The page and its models, as `executorch-webgpu serve` offers them. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { PYTHON } from "../paths.ts";
import { MODELS } from "../support.ts";

export interface PageServer {
  url: string;
  stop(): void;
}

/** Exports models that are missing: SmolLM2 takes minutes. */
export async function servePage(): Promise<PageServer> {
  if (!existsSync(`${MODELS}/colours/labels.txt`)) execFileSync(PYTHON, ["e2e/models.py", MODELS]);
  const port = Number(process.env.ETWEBGPU_E2E_PORT ?? 8418);
  const models = [`${MODELS}/babble/babble.pte`, `${MODELS}/colours/colours.pte`];
  const options = ["--port", `${port}`, "--page", "demo/dist", "--smollm2", ...models];
  const server = spawn(PYTHON, ["-m", "executorch_webgpu", "serve", ...options], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}/`;
  const answers = (): Promise<boolean> =>
    fetch(`${url}models.json`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await answers())) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return { url, stop: () => server.kill() };
}
