/** The page's worker: the planner, the device and one loaded model. */
import { Core, cachedFiles, clearCache, Gpu, ModelError } from "executorch-webgpu";
import wasm from "executorch-webgpu/etwebgpu.wasm?url";
import { listen } from "../protocol.ts";
import { describeAdapter, LoadedModel, readText } from "./model.ts";
import { check } from "./preflight.ts";

let core: Promise<Core> | undefined;
let gpu: Gpu | undefined;
let model: LoadedModel | undefined;

const openCore = (): Promise<Core> => {
  core ??= fetch(wasm).then((answer) => Core.create(answer));
  core.catch(() => {
    core = undefined; // the next try fetches it again
  });
  return core;
};

async function openGpu(): Promise<Gpu> {
  gpu = model?.gpu ?? gpu;
  if (gpu === undefined || gpu.isLost) gpu = await Gpu.open();
  return gpu;
}

function loaded(): LoadedModel {
  if (model === undefined) throw new ModelError("no model is loaded");
  return model;
}

async function unload(): Promise<undefined> {
  const old = model;
  model = undefined;
  await old?.dispose();
}

// What uses the model takes turns: a measurement in the middle of an answer would spoil its cache.
let last: Promise<unknown> = Promise.resolve();
function inTurn<T>(use: (model: LoadedModel) => Promise<T>): Promise<T> {
  const turn = last.then(() => use(loaded()));
  last = turn.catch(() => {});
  return turn;
}

listen({
  adapter: async () => describeAdapter(await openGpu()),
  check: async (files, { signal }) => check(await openCore(), await openGpu(), files, signal),
  load: async (files, { report, signal }) => {
    await unload(); // two models need not fit
    const since = performance.now();
    const device = await openGpu();
    const labels = files.labels === undefined ? [] : lines(await readText(files.labels));
    const next = await LoadedModel.load(await openCore(), device, files, report, signal);
    if (signal.aborted) await next.dispose();
    signal.throwIfAborted();
    await unload();
    model = next;
    return next.describe((performance.now() - since) / 1000, labels);
  },
  kept: async () => (await cachedFiles()).reduce((sum, { keptBytes }) => sum + keptBytes, 0),
  forget: async () => {
    await clearCache();
    return undefined;
  },
  unload,
  generate: ({ messages, sampling }, { report, signal }) =>
    inTurn((model) => model.generate(messages, sampling, report, signal)),
  graph: ({ measure, position }) => inTurn((model) => model.graph(measure, position)),
  classify: ({ picture, normalization }) => inTurn((model) => model.classify(picture, normalization)),
});

const lines = (text: string): string[] => text.split(/\r?\n/).map((line) => line.trim());
