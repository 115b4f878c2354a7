/** Replays recorded cases in a page: cases.spec.ts calls these. */
import { Core } from "../../src/core.ts";
import { Gpu } from "../../src/gpu.ts";
import { recording } from "../../test/cases/files.ts";
import { disagreements, foreign, program } from "../../test/cases/replay.ts";

export interface Replayed {
  adapter: string;
  cases: number;
  leftOut: number;
  lines: string[];
}

/** One in `every` cases of a pair of files. */
async function replay(wasm: string, index: string, every: number): Promise<Replayed> {
  const core = await Core.create(await fetch(wasm));
  const gpu = await Gpu.open();
  const binary = await (await fetch(index.replace(/json$/, "bin"))).arrayBuffer();
  const { cases } = recording(index, await (await fetch(index)).text(), binary);
  const load = /\/cases-\d+\.json$/.test(index) ? undefined : program;
  const out: Replayed = { adapter: gpu.name, cases: 0, leftOut: 0, lines: [] };
  for (const form of cases.filter((_, i) => i % every === 0)) {
    if (foreign(form, gpu) !== undefined) {
      ++out.leftOut;
      continue;
    }
    ++out.cases;
    const lines = await disagreements(core, gpu, form, binary, load);
    out.lines.push(...lines.map((line) => `${form.name}: ${line}`));
  }
  gpu.device.destroy();
  return out;
}

declare global {
  interface Window {
    replay: typeof replay;
  }
}
window.replay = replay;
