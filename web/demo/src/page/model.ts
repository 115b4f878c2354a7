/** The panel beside the views: which model, whether it runs here, its load, and figures while it works. */
import type { Client, Loaded, LoadProgress, Preflight } from "../protocol.ts";
import { button, byId, element, fileButton } from "./dom.ts";
import { clearErrors, sentence, showError } from "./errors.ts";
import {
  type FoundFiles,
  MODEL_ENDINGS,
  type OfferedModel,
  offeredModels,
  type Sorted,
  toModelFiles,
} from "./files.ts";
import { bytes, plural } from "./format.ts";

export interface CurrentModel extends Loaded {
  name: string;
}

export class ModelPanel {
  readonly #client: Client;
  readonly #root = byId("model");
  readonly #status = element("p", { class: "hidden", role: "status" });
  readonly #body = element("div", { class: "panel", id: "panel" });
  readonly #fold = button("", () => this.#setFolded(this.#root.dataset.folded !== "true"), {
    class: "fold",
    "aria-controls": "panel",
  });
  readonly #listeners = new Set<(model: CurrentModel | undefined) => void>();
  readonly #kept = element("p", { class: "quiet", role: "status" });
  readonly #figures = new Map<string, HTMLElement>();
  #offered: OfferedModel[] = [];
  #chosen: FoundFiles | undefined;
  #work = new AbortController();
  current: CurrentModel | undefined;
  /** More of the panel for the loaded model. */
  settings: (model: CurrentModel) => Node | undefined = () => undefined;

  constructor(client: Client) {
    this.#client = client;
    this.#root.append(this.#fold, this.#body, this.#status);
    this.#setFolded(false);
    this.#showChoice();
  }

  async start(): Promise<void> {
    this.#offered = await offeredModels();
    if (this.#chosen === undefined) this.#showChoice();
  }

  // Files of the server stay in the browser; whoever does not want them there can say so.
  async #showKept(): Promise<void> {
    const kept = await this.#client.call("kept", undefined).catch(() => 0);
    if (kept === 0 || this.#chosen !== undefined) return;
    const forget = button("Delete them", () => void this.#forget(), { class: "plain" });
    this.#kept.replaceChildren(`${bytes(kept)} of models are kept in this browser.`, forget);
  }
  async #forget(): Promise<void> {
    try {
      await this.#client.call("forget", undefined);
      this.#kept.replaceChildren();
    } catch (error) {
      showError(error);
    }
  }

  onModel(listener: (model: CurrentModel | undefined) => void): void {
    this.#listeners.add(listener);
  }

  /** Files that the visitor dropped: another model, or what was missing for the chosen one. */
  take(files: Sorted["model"]): void {
    const { program, ...rest } = files;
    if (program instanceof File) {
      this.#choose({ name: program.name.replace(/\.pte$/i, ""), program, data: [], ...rest });
    } else if (this.#chosen === undefined) {
      showError("Choose the program (.pte) first, or drop all files of the model together");
    } else {
      this.#choose({ ...this.#chosen, ...rest });
    }
  }

  figure(name: string, value: string): void {
    const place = this.#figures.get(name);
    if (place !== undefined) place.textContent = value;
  }

  #setFolded(folded: boolean): void {
    this.#root.dataset.folded = String(folded);
    this.#fold.setAttribute("aria-expanded", String(!folded));
  }

  // The panel's contents anew; whoever had the focus in them keeps it there.
  #show(summary: string, ...contents: (Node | false | undefined)[]): void {
    const hadFocus = this.#body.contains(document.activeElement);
    this.#body.replaceChildren(...contents.filter((one) => one instanceof Node));
    this.#fold.textContent = summary;
    if (hadFocus) this.#body.querySelector<HTMLElement>("button:not([disabled])")?.focus();
  }

  #setCurrent(model: CurrentModel | undefined): void {
    this.current = model;
    for (const listener of this.#listeners) listener(model);
  }

  // --- Choosing ---

  #showChoice(): void {
    const offered = this.#offered.map(({ files, bytes: size }) => {
      const offer = button("", () => this.#choose(files), { class: "offer" });
      offer.append(element("strong", {}, files.name), element("span", {}, bytes(size)));
      return element("li", {}, offer);
    });
    this.#show(
      "Choose a model",
      element("h2", {}, "Choose a model"),
      offered.length > 0 && element("ul", { class: "offers" }, ...offered),
      element(
        "div",
        { class: "dropzone" },
        element("p", {}, offered.length > 0 ? "Or drop your own here" : "Drop a model here"),
        element(
          "p",
          { class: "quiet" },
          "a program ",
          element("code", {}, ".pte"),
          ", with tokenizer files to chat or labels for pictures",
        ),
        fileButton("Choose files", MODEL_ENDINGS, (files) => this.onFiles(files)),
      ),
      offered.length === 0 &&
        element(
          "p",
          { class: "quiet" },
          "Started by ",
          element("code", {}, "executorch-webgpu serve"),
          ", the page offers SmolLM2 here.",
        ),
      this.#kept,
    );
    void this.#showKept();
  }

  /** Hears of chosen files; the page sorts them. */
  onFiles: (files: File[]) => void = () => {};

  #choose(files: FoundFiles): void {
    clearErrors();
    this.#stopWork();
    this.#chosen = files;
    this.#setFolded(false);
    void this.#check(files);
  }

  async #leave(): Promise<void> {
    this.#stopWork();
    this.#chosen = undefined;
    this.#showChoice();
    if (this.current === undefined) return;
    this.#setCurrent(undefined);
    await this.#client.call("unload", undefined);
  }

  #stopWork(): void {
    this.#work.abort();
    this.#work = new AbortController();
  }

  // --- Before the load ---

  async #check(files: FoundFiles): Promise<void> {
    const { signal } = this.#work;
    this.#show(
      files.name,
      this.#heading(files.name, "Reading its beginning…"),
      element("progress", { "aria-label": `Reading the beginning of ${files.name}` }),
      this.#back(),
    );
    try {
      const preflight = await this.#client.call("check", toModelFiles(files), { signal });
      if (!signal.aborted) this.#showPreflight(files, preflight);
    } catch (error) {
      if (!signal.aborted) this.#showFailure(files, error);
    }
  }

  #showPreflight(files: FoundFiles, preflight: Preflight): void {
    const { problems, warnings, weights, memory } = preflight;
    const runs = problems.length === 0;
    const lacksTokenizer =
      preflight.kind === "chat" && (files.json === undefined || files.config === undefined);
    const rows: [string, number][] = [
      [files.program instanceof File ? "To read" : "To fetch", weights.toFetch],
      ["Here already", weights.total - weights.toFetch],
      ["Weights on the GPU", memory.constants],
      ["States on the GPU", memory.states],
      ["Activations at most", memory.activations],
    ];
    const shown = rows.filter(([, size]) => size > 0).map(([name, size]) => row(name, bytes(size)));
    this.#show(
      files.name,
      this.#heading(files.name, describe(preflight)),
      element("dl", { class: "rows" }, ...shown.flat()),
      ...(runs
        ? [element("p", { class: "verdict good" }, "It runs on this adapter.")]
        : problems.map((problem) => element("p", { class: "verdict bad" }, sentence(problem)))),
      ...warnings.map((warning) => element("p", { class: "verdict" }, sentence(warning))),
      runs &&
        lacksTokenizer &&
        element("p", { class: "verdict" }, `To chat, add ${missingTokenizerFiles(files)} as well.`),
      element(
        "div",
        { class: "actions" },
        runs && button("Load the model", () => void this.#load(files), { class: "primary" }),
        runs && lacksTokenizer && fileButton("Add files", MODEL_ENDINGS, (added) => this.onFiles(added)),
        this.#back(),
      ),
    );
    this.#status.textContent = runs ? `${files.name} runs on this adapter.` : problems.join(" ");
  }

  #showFailure(files: FoundFiles, error: unknown): void {
    this.#show(
      files.name,
      this.#heading(files.name, "It cannot be used"),
      element("p", { class: "verdict bad", role: "alert" }, sentence(error)),
      element(
        "div",
        { class: "actions" },
        button("Try again", () => this.#choose(files)),
        this.#back(),
      ),
    );
  }

  // --- The load ---

  async #load(files: FoundFiles): Promise<void> {
    const { signal } = this.#work;
    this.#setCurrent(undefined);
    const progress = new Progress();
    this.#show(
      `Loading ${files.name}`,
      this.#heading(files.name, "Loading"),
      progress.element,
      element(
        "div",
        { class: "actions" },
        button("Cancel", () => this.#choose(files)),
      ),
    );
    try {
      const onReport = (report: LoadProgress): void => progress.show(report);
      const loaded = await this.#client.call("load", toModelFiles(files), { onReport, signal });
      if (signal.aborted) return;
      this.#showLoaded({ ...loaded, name: files.name });
    } catch (error) {
      if (!signal.aborted) this.#showFailure(files, error);
    }
  }

  #showLoaded(model: CurrentModel): void {
    this.#figures.clear();
    const figure = (name: string, label: string, value: string): HTMLElement => {
      const place = element("dd", {}, value);
      this.#figures.set(name, place);
      return element("div", {}, place, element("dt", {}, label));
    };
    const isChat = model.kind === "chat";
    this.#show(
      model.name,
      this.#heading(model.name, describe(model)),
      element(
        "dl",
        { class: "figures" },
        isChat && figure("speed", "tokens/s", "–"),
        isChat && figure("first", "first token", "–"),
        model.kind === "image" && figure("picture", "a picture", "–"),
        figure("memory", "GPU memory", bytes(model.gpuBytes)),
        figure("load", "load", `${model.seconds.toFixed(model.seconds < 10 ? 1 : 0)} s`),
      ),
      element("p", { class: "quiet" }, adapterSentence(model.adapter)),
      ...model.notices.map((notice) => element("p", { class: "verdict" }, sentence(notice))),
      this.settings(model),
      element("div", { class: "actions" }, this.#back()),
    );
    this.#status.textContent = `${model.name} is loaded.`;
    this.#setFolded(true);
    this.#setCurrent(model);
  }

  #heading(name: string, below: string): HTMLElement {
    return element(
      "div",
      { class: "heading" },
      element("h2", {}, name),
      element("p", { class: "quiet" }, below),
    );
  }
  #back(): HTMLElement {
    return button("Choose another", () => void this.#leave());
  }
}

/** Two bars: the weights' bytes, then the kernels. */
class Progress {
  readonly #bars: Record<"weights" | "kernels", { bar: HTMLProgressElement; text: HTMLElement }>;
  readonly element: HTMLElement;
  #since = performance.now();

  constructor() {
    const made = (label: string) => ({
      bar: element("progress", { max: 1, value: 0, "aria-label": label }),
      text: element("span", {}, label),
    });
    this.#bars = { weights: made("Weights"), kernels: made("Kernels") };
    const lines = Object.values(this.#bars).map(({ bar, text }) => element("div", {}, text, bar));
    this.element = element("div", { class: "progress" }, ...lines);
  }

  show({ stage, done, total }: LoadProgress): void {
    if (stage === "reading" || total === 0) return;
    const { bar, text } = this.#bars[stage];
    if (done === 0) this.#since = performance.now();
    bar.value = done / total;
    if (stage === "kernels") {
      text.textContent = `Kernels: ${done} of ${total} compiled`;
      return;
    }
    const seconds = (performance.now() - this.#since) / 1000;
    const speed = seconds > 0.2 ? ` · ${bytes(done / seconds)}/s` : "";
    text.textContent = `Weights: ${bytes(done)} of ${bytes(total)}${done < total ? speed : ""}`;
  }
}

const ADAPTERS: Record<CurrentModel["adapter"]["kind"], string> = {
  discrete: "a discrete GPU",
  integrated: "an integrated GPU",
  software: "which computes on the CPU",
};

function adapterSentence({ name, kind, features }: CurrentModel["adapter"]): string {
  const has = features.length > 0 ? `It has ${features.join(", ")}.` : "It has no optional features.";
  return `On ${name}, ${ADAPTERS[kind]}. ${has}`;
}

function row(name: string, value: string): HTMLElement[] {
  return [element("dt", {}, name), element("dd", {}, value)];
}

function describe({ kind, context, picture }: Pick<Preflight, "kind" | "context" | "picture">): string {
  if (kind === "chat") return context ? `Chat model, ${plural(context, "token")} of context` : "Chat model";
  if (picture)
    return `Image model, ${picture.width} × ${picture.height} pixels, ${plural(picture.classes, "class", "classes")}`;
  return "A program that neither chats nor takes pictures";
}

function missingTokenizerFiles({ json, config }: FoundFiles): string {
  const missing = [json ? "" : "tokenizer.json", config ? "" : "tokenizer_config.json"];
  return missing.filter(Boolean).join(" and ");
}
