/** The graph as the GPU gets it, dispatch by dispatch, and a step's time by kernel. */
import type { Client, Graph } from "../protocol.ts";
import { button, byId, element, svgElement } from "./dom.ts";
import { showError } from "./errors.ts";
import { bytes, milliseconds, percent, plural } from "./format.ts";
import { type Bar, type Block, barsOf, foldLayers, type Step, stepsOf, titleOf } from "./layers.ts";
import type { CurrentModel, ModelPanel } from "./model.ts";
import { onView } from "./tabs.ts";

// Pixels, as style.css has them.
const ROW = 48;
const BLOCK_HEAD = 40;
const GUTTER = 84;

export class GraphView {
  readonly #client: Client;
  readonly #panel: ModelPanel;
  readonly #root = byId("view-graph");
  readonly #measure = button("Measure a step", () => void this.#show(true), { class: "primary" });
  readonly #position = element("input", { type: "number", id: "position", min: "0", value: "64" });
  #drawn: CurrentModel | undefined;
  #isBusy = false;

  constructor(client: Client, panel: ModelPanel) {
    this.#client = client;
    this.#panel = panel;
    panel.onModel(() => {
      this.#drawn = undefined;
      this.#refresh();
    });
    onView((view) => {
      if (view === "graph") this.#refresh();
    });
  }

  #refresh(): void {
    const model = this.#panel.current;
    if (this.#root.hidden || (model !== undefined && this.#drawn === model)) return;
    if (model === undefined) this.#root.replaceChildren(empty());
    else void this.#show(false);
  }

  async #show(measure: boolean): Promise<void> {
    const model = this.#panel.current;
    if (model === undefined || this.#isBusy) return;
    this.#isBusy = true;
    if (this.#drawn !== model) this.#root.replaceChildren(waiting());
    this.#drawn = model;
    this.#measure.disabled = true;
    this.#measure.textContent = measure ? "Measuring…" : "Measure a step";
    try {
      const most = (model.context ?? 1) - 2;
      const position = Math.max(0, Math.min(this.#position.valueAsNumber || 0, most));
      const graph = await this.#client.call("graph", { measure, position });
      if (this.#panel.current === model) this.#draw(model, graph);
    } catch (error) {
      showError(error);
    } finally {
      this.#isBusy = false;
      this.#measure.disabled = false;
      this.#measure.textContent = "Measure a step";
    }
  }

  #draw(model: CurrentModel, graph: Graph): void {
    const steps = stepsOf(graph.nodes);
    const details = element("div", { class: "details", role: "status" });
    this.#root.replaceChildren(
      element(
        "header",
        { class: "graph-head" },
        element(
          "div",
          {},
          element("h2", {}, "One call on the GPU"),
          summary(graph, steps, model.kind === "chat"),
        ),
        this.#tools(model),
      ),
      element(
        "div",
        { class: "graph-columns" },
        element("section", { "aria-labelledby": "bars-title" }, ...bars(graph, steps)),
        element(
          "section",
          { "aria-labelledby": "flow-title" },
          element("h3", { id: "flow-title" }, "Dispatches, in order"),
          flow(foldLayers(steps), details),
          details,
        ),
      ),
    );
  }

  #tools(model: CurrentModel): HTMLElement {
    const isChat = model.kind === "chat";
    return element(
      "div",
      { class: "tools" },
      isChat && element("label", { for: "position" }, "Token at position"),
      isChat && this.#position,
      this.#measure,
    );
  }
}

function empty(): HTMLElement {
  return element(
    "div",
    { class: "intro" },
    element("h2", {}, "What the GPU is given"),
    element(
      "p",
      {},
      "Load a model to see its dispatches, how they depend on each other, and where a step's time goes.",
    ),
  );
}

function waiting(): HTMLElement {
  return element(
    "p",
    { class: "intro quiet", role: "status" },
    "The graph comes as soon as the model is free.",
  );
}

function summary(graph: Graph, steps: readonly Step[], isChat: boolean): HTMLElement {
  const weights = steps.reduce((sum, { weightBytes }) => sum + weightBytes, 0);
  const dispatches = steps.filter(({ onCpu }) => !onCpu);
  const kernels = new Set(dispatches.map(({ kernel }) => kernel)).size;
  const onCpu = steps.length - dispatches.length;
  const parts = [
    plural(dispatches.length, "dispatch", "dispatches"),
    plural(kernels, "kernel"),
    ...(onCpu > 0 ? [`${plural(onCpu, "step")} on the CPU`] : []),
    `${bytes(weights)} of weights read`,
    isChat ? "one token" : graph.inputs.join(" and "),
  ];
  return element("p", { class: "quiet" }, parts.join(" · "));
}

function bars(graph: Graph, steps: readonly Step[]): HTMLElement[] {
  const { stepMilliseconds: whole } = graph;
  const all = barsOf(steps);
  const value = (bar: Bar): number => (whole === undefined ? bar.count : bar.milliseconds);
  const most = Math.max(...all.map(value));
  const sum = all.reduce((total, bar) => total + value(bar), 0);
  const list = all.map((bar) => {
    const length = element("span", { class: "length" });
    length.style.width = `${(100 * value(bar)) / most}%`;
    const text =
      whole === undefined
        ? plural(bar.count, bar.onCpu ? "step" : "dispatch", bar.onCpu ? "steps" : "dispatches")
        : `${milliseconds(bar.milliseconds)} · ${percent(bar.milliseconds / sum)}`;
    const row = element(
      "li",
      { class: "bar" },
      element("span", { class: "name" }, bar.title),
      element("span", { class: "value" }, text),
      element("span", { class: "track" }, length),
      element("code", {}, `${bar.template}${bar.count > 1 ? ` × ${bar.count}` : ""}`),
    );
    row.dataset.family = bar.family;
    return row;
  });
  return [
    element("h3", { id: "bars-title" }, whole === undefined ? "Dispatches by kernel" : "Time by kernel"),
    element(
      "p",
      { class: "quiet" },
      whole === undefined
        ? "Not measured yet."
        : `A step takes ${steps.some(({ onCpu }) => onCpu) ? "GPU and CPU" : "the GPU"} ${milliseconds(whole)}; its kernels one by one, each repeated until the clock can tell, ${milliseconds(sum)}.`,
    ),
    element("ol", { class: "bars" }, ...list),
  ];
}

// --- The graph ---

function flow(blocks: readonly Block[], details: HTMLElement): HTMLElement {
  const rows = new Map<number, number>(); // middles, by step
  const list = element("ol", { class: "rows-of-steps" });
  const most = Math.max(...blocks.flatMap(({ steps }) => steps.map((step) => step.milliseconds ?? 0)));
  let y = 0;
  for (const { steps, times } of blocks) {
    const items = steps.map((step, i) => {
      rows.set(step.index, y + (times > 1 ? BLOCK_HEAD : 0) + ROW * (i + 0.5));
      return row(step, most, details);
    });
    if (times > 1) {
      const head = element(
        "div",
        { class: "block-head" },
        `${times} layers like this`,
        blockTime(steps, times),
      );
      list.append(element("li", { class: "block" }, head, element("ol", {}, ...items)));
    } else {
      list.append(...items);
    }
    y += ROW * steps.length + (times > 1 ? BLOCK_HEAD : 0);
  }
  return element("div", { class: "flow" }, drawEdges(blocks, rows, y), list);
}

function blockTime(steps: readonly Step[], times: number): HTMLElement {
  const sum = times * steps.reduce((total, { milliseconds: own = 0 }) => total + own, 0);
  return element("span", {}, sum > 0 ? milliseconds(sum) : "");
}

function row(step: Step, most: number, details: HTMLElement): HTMLElement {
  const time = step.milliseconds;
  const length = element("span", { class: "length" });
  if (time !== undefined) length.style.width = `${(100 * time) / most}%`;
  const opener = button("", () => select(opener, step, details), { class: "step", "aria-pressed": "false" });
  opener.append(
    element("span", { class: "name" }, titleOf(step)),
    element("code", {}, step.template),
    element("span", { class: "value" }, time === undefined ? bytes(step.weightBytes) : milliseconds(time)),
    time === undefined ? "" : element("span", { class: "track" }, length),
  );
  const item = element("li", {}, opener);
  item.dataset.family = step.family;
  return item;
}

function select(opener: HTMLElement, step: Step, details: HTMLElement): void {
  const isOpen = opener.getAttribute("aria-pressed") === "true";
  for (const other of document.querySelectorAll('.step[aria-pressed="true"]'))
    other.setAttribute("aria-pressed", "false");
  details.replaceChildren();
  opener.closest(".flow")?.after(details);
  if (isOpen) return;
  opener.setAttribute("aria-pressed", "true");
  const rows: [string, string][] = [
    ["Operator", step.call],
    ["Workgroups", step.onCpu ? "none: it runs on the CPU" : step.grid.join(" × ")],
    ["Weights", step.weights.length > 0 ? `${bytes(step.weightBytes)}: ${step.weights.join(", ")}` : "none"],
    ["Reads from", step.reads.length > 0 ? step.reads.map((i) => `dispatch ${i}`).join(", ") : "inputs"],
    ...(step.milliseconds === undefined
      ? []
      : [["Time", milliseconds(step.milliseconds)] as [string, string]]),
    ["Kernel", step.kernel],
  ];
  details.append(
    element("h4", {}, `${step.onCpu ? "Step" : "Dispatch"} ${step.index}: ${titleOf(step)}`),
    element(
      "dl",
      { class: "rows" },
      ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    ),
  );
}

// Lines from result to reader: straight to the next row, in an arc around others.
function drawEdges(
  blocks: readonly Block[],
  rows: ReadonlyMap<number, number>,
  height: number,
): SVGSVGElement {
  const svg = svgElement("svg", { class: "edges", width: GUTTER, height, "aria-hidden": "true" });
  const x = GUTTER - 14;
  const place = placesOf(blocks, rows);
  for (const { steps } of blocks)
    for (const step of steps)
      for (const from of step.reads) {
        const begin = place(from);
        const end = rows.get(step.index);
        if (begin === undefined || end === undefined || begin >= end) continue;
        const span = (end - begin) / ROW;
        const reach = span < 1.95 ? 0 : Math.min(16 + 9 * span, x - 6);
        svg.append(
          svgElement("path", { d: `M${x} ${begin}C${x - reach} ${begin} ${x - reach} ${end} ${x} ${end}` }),
        );
      }
  for (const { steps } of blocks)
    for (const { index, family } of steps) {
      const dot = svgElement("circle", { cx: x, cy: rows.get(index) ?? 0, r: 5 });
      dot.dataset.family = family;
      svg.append(dot);
    }
  return svg;
}

// A step of a repeated layer that is not drawn lies where its like of the drawn one is.
function placesOf(
  blocks: readonly Block[],
  rows: ReadonlyMap<number, number>,
): (index: number) => number | undefined {
  return (index) => {
    const known = rows.get(index);
    if (known !== undefined) return known;
    for (const { steps, times } of blocks) {
      const first = steps[0].index;
      if (index >= first && index < first + times * steps.length)
        return rows.get(first + ((index - first) % steps.length));
    }
    return undefined;
  };
}
