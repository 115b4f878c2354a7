/**
 * SmolLM2 in one Chromium beside what other npm packages take with a decoder of its sizes in 4 bits: what a second
 * visit waits for, with everything in the browser's caches, and how fast prompts and tokens go then.
 *
 *     scripts/build_wasm.sh --module && pip install onnx
 *     cd web && node bench/peers.ts FOLDER [--gpu] [--layers 30] [--rounds 3] [--systems ours,wllama-webgpu] [as decode.ts]
 *
 * FOLDER keeps the packages and the models; what it lacks is made first. By turns, each in a page of its own; prints
 * every visit as JSON and a table of medians.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { type BrowserContext, chromium as browsers } from "@playwright/test";
import { build, preview } from "vite";
import { PYTHON, REPOSITORY } from "../e2e/paths.ts";
import type { VisitTimes } from "./decoder.ts";
import { type DecodeOptions, median } from "./decoding.ts";
import { chromiumFlags, decodeArguments } from "./options.ts";

const PACKAGES = ["@huggingface/transformers@4.3.2", "@wllama/wllama@3.13.0"];
const [TRANSFORMERS, WLLAMA] = PACKAGES.map((name) => name.replace(/^@.*\//, "").replace("@", " "));

// page.ts has what each does.
const SYSTEMS: Record<string, string> = {
  ours: "this",
  "transformers-webgpu": `${TRANSFORMERS}, WebGPU`,
  "wllama-webgpu": `${WLLAMA}, WebGPU`,
  "transformers-wasm": `${TRANSFORMERS}, wasm on the processor`,
  "wllama-threads": `${WLLAMA}, wasm on the processor`,
  "wllama-thread": `${WLLAMA}, wasm on one core`,
};

// Quantities, their units, and whether less of them is better.
const COLUMNS: [keyof VisitTimes, string, boolean][] = [
  ["load_ms", "load, ms", true],
  ["first_token_ms", "first token, ms", true],
  ["prefill_tokens_per_second", "prefill, tok/s", false],
  ["decode_tokens_per_second", "decode, tok/s", false],
];

function run(command: string, ...args: string[]): void {
  console.error(`> ${command} ${args.join(" ")}`);
  const { status, error } = spawnSync(command, args, { cwd: REPOSITORY, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw error ?? new Error(`${command} failed`);
}

/** Packages, the model in three formats, and the page. */
async function prepare(folder: string, name: string): Promise<void> {
  const model = `${folder}/models/${name}`;
  mkdirSync(model, { recursive: true });
  if (!existsSync(`${folder}/node_modules/@wllama/wllama`))
    run("npm", "install", "--prefix", folder, "--ignore-scripts", ...PACKAGES);
  const missing = (name: string): boolean => !existsSync(`${model}/${name}`);
  if (missing("onnx")) run(PYTHON, "benchmarks/made_up_onnx.py", "135m", model, "--layers", `${layers}`);
  const [gguf, pte] = [`${model}/model.gguf`, `${model}/model.pte`];
  if (missing("model.gguf")) run(PYTHON, "benchmarks/first_layers.py", "smollm2", `${layers}`, gguf);
  if (missing("model.pte"))
    run(PYTHON, "-m", "executorch_webgpu", "export", gguf, "--bits", "4", "--no-calibration", "-o", pte);
  const root = `${import.meta.dirname}/browser`;
  await build({ root, logLevel: "warn", build: { outDir: folder, emptyOutDir: false, target: "es2023" } });
}

/** With the headers that a page's threads need. */
async function serve(folder: string): Promise<{ address: string; close(): Promise<void> }> {
  const headers = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
  };
  const server = await preview({
    root: dirname(folder),
    appType: "mpa",
    logLevel: "warn",
    build: { outDir: basename(folder) },
    preview: { host: "127.0.0.1", port: 0, headers },
  });
  return { address: server.resolvedUrls!.local[0], close: () => server.close() };
}

async function open(context: BrowserContext, address: string) {
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") console.error(message.text());
  });
  await page.goto(address);
  await page.waitForFunction(() => window.decoders !== undefined);
  return page;
}

/** What a system has cannot be lost for what another one lacks. */
async function visit(
  context: BrowserContext,
  address: string,
  system: string,
  options: DecodeOptions,
): Promise<VisitTimes | undefined> {
  const page = await open(context, address);
  try {
    return await page.evaluate(([name, files, wanted]) => window.decoders.visit(name, files, wanted), [
      system,
      model,
      options,
    ] as const);
  } catch (error) {
    console.error(`${SYSTEMS[system]}: ${error}`);
    return undefined;
  } finally {
    await page.close();
  }
}

function table(found: Map<string, VisitTimes[]>): string {
  const medians = [...found].map(([system, visits]) => ({
    system,
    values: COLUMNS.map(([key]) => median(visits.map((times) => times[key]))),
  }));
  const own = medians.find(({ system }) => system === "ours")?.values;
  const rows = medians.map(({ system, values }) => {
    const cells = values.map((value, i) => {
      if (own === undefined || system === "ours") return `${value}`;
      const times = COLUMNS[i][2] ? value / own[i] : own[i] / value;
      return `${value} (${times.toFixed(2)})`;
    });
    return `| ${[SYSTEMS[system], ...cells].join(" | ")} |`;
  });
  const head = ["", ...COLUMNS.map(([, title]) => title)].join(" | ");
  return [`| ${head} |`, `| --- |${" ---: |".repeat(COLUMNS.length)}`, ...rows].join("\n");
}

const {
  options,
  positionals,
  chromium,
  gpu,
  layers,
  rounds,
  systems = Object.keys(SYSTEMS),
} = decodeArguments();
const folder = resolve(positionals[0]);
const model = `smollm2-${layers}`;
await prepare(folder, model);
const server = await serve(folder);
const profile = mkdtempSync(`${tmpdir()}/chromium-`); // pages without a profile keep their caches in memory
const context = await browsers.launchPersistentContext(profile, {
  executablePath: chromium,
  args: chromiumFlags(gpu),
});
try {
  const page = await open(context, server.address);
  const adapter = await page.evaluate(() => window.decoders.adapter());
  const processor = `${cpus().length} x ${cpus()[0].model}`;
  console.log(
    JSON.stringify({ browser: context.browser()?.version(), adapter, processor, layers, ...options }),
  );
  await page.close();
  const running = new Set(systems); // those that can here
  const found = new Map<string, VisitTimes[]>();
  for (let round = 0; round <= rounds; ++round) {
    // The first one fills the caches.
    const wanted = round === 0 ? { ...options, tokens: 2, prompt: options.at } : options;
    for (const system of [...running]) {
      const times = await visit(context, server.address, system, wanted);
      if (times === undefined) running.delete(system);
      else console.log(JSON.stringify({ system, round, ...times }));
      if (times !== undefined && round > 0) found.set(system, [...(found.get(system) ?? []), times]);
    }
  }
  console.log(`\n${table(found)}`);
} finally {
  await context.close();
  await server.close();
  rmSync(profile, { recursive: true });
}
