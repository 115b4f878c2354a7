/** The conversation: answers as they stream, stop, and once more. */
import type { AnswerStats, Client, Message, Sampling } from "../protocol.ts";
import { button, byId, element, icon } from "./dom.ts";
import { sentence } from "./errors.ts";
import { bytes, milliseconds, plural, rate } from "./format.ts";
import type { CurrentModel, ModelPanel } from "./model.ts";

const SUGGESTIONS = [
  "Explain gravity to a child",
  "Write a haiku about rain",
  "What should I cook with rice and eggs?",
  "Give me three names for a black cat",
];
const SEND = "M12 19V5M5.5 11.5 12 5l6.5 6.5";
const STOP = "M7 7h10v10H7z";

interface Turn {
  message: Message;
  place: HTMLElement;
}

export class Chat {
  readonly #client: Client;
  readonly #panel: ModelPanel;
  readonly #sampling: () => Sampling;
  readonly #log = element("div", { class: "log", role: "log", "aria-label": "Conversation" });
  readonly #intro = element("div", { class: "intro" });
  readonly #input: HTMLTextAreaElement;
  readonly #send: HTMLButtonElement;
  readonly #clear: HTMLButtonElement;
  #turns: Turn[] = [];
  #running: AbortController | undefined;

  constructor(client: Client, panel: ModelPanel, sampling: () => Sampling) {
    this.#client = client;
    this.#panel = panel;
    this.#sampling = sampling;
    this.#input = element("textarea", {
      rows: 1,
      placeholder: "Write a message",
      enterKeyHint: "send",
      "aria-label": "Message",
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.#submit();
      },
      oninput: () => this.#update(),
    });
    this.#send = button("", () => (this.#running ? this.#running.abort() : this.#submit()), {
      class: "send primary",
    });
    this.#clear = button("New chat", () => this.#reset(), { class: "plain" });
    const composer = element(
      "div",
      { class: "composer" },
      element("div", { class: "field" }, this.#input, this.#send),
      element(
        "div",
        { class: "under" },
        element("span", { class: "quiet" }, "Enter sends, Shift+Enter breaks the line, Escape stops"),
        this.#clear,
      ),
    );
    const view = byId("view-chat");
    view.append(element("div", { class: "scroll" }, this.#intro, this.#log), composer);
    view.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.#running?.abort();
    });
    panel.onModel((model) => this.#setModel(model));
    this.#setModel(undefined);
  }

  get #canChat(): boolean {
    return this.#panel.current?.kind === "chat";
  }

  #setModel(model: CurrentModel | undefined): void {
    this.#running?.abort();
    this.#reset();
    this.#intro.replaceChildren(...introduction(model, (text) => this.#ask(text)));
    if (this.#canChat && matchMedia("(hover: hover)").matches) this.#input.focus();
  }

  #reset(): void {
    this.#running?.abort();
    this.#turns = [];
    this.#log.replaceChildren();
    this.#update();
  }

  #update(): void {
    const isRunning = this.#running !== undefined;
    this.#intro.hidden = this.#turns.length > 0;
    this.#input.disabled = !this.#canChat;
    this.#send.disabled = !isRunning && (!this.#canChat || this.#input.value.trim() === "");
    this.#send.replaceChildren(icon(isRunning ? STOP : SEND));
    this.#send.setAttribute("aria-label", isRunning ? "Stop the answer" : "Send");
    this.#send.title = isRunning ? "Stop the answer" : "Send";
    this.#clear.hidden = this.#turns.length === 0;
    this.#log.ariaBusy = String(isRunning);
  }

  #submit(): void {
    const text = this.#input.value.trim();
    if (text === "" || this.#running !== undefined || !this.#canChat) return;
    this.#input.value = "";
    this.#ask(text);
  }

  #ask(text: string): void {
    if (this.#running !== undefined) return;
    const place = element("article", { class: "user" }, element("span", { class: "hidden" }, "You:"), text);
    this.#log.append(place);
    this.#turns.push({ message: { role: "user", content: text }, place });
    void this.#answer();
  }

  async #answer(): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    const shown = new Answer();
    this.#log.append(shown.place);
    this.#update();
    shown.place.scrollIntoView({ block: "nearest" });
    try {
      const stats = await this.#client.call(
        "generate",
        { messages: this.#turns.map(({ message }) => message), sampling: this.#sampling() },
        { onReport: (text) => shown.add(text), signal: running.signal },
      );
      this.#finish(shown, stats);
    } catch (error) {
      shown.fail(
        error,
        button("Try again", () => this.#again(shown.place)),
      );
    }
    if (this.#running === running) this.#running = undefined;
    this.#update();
  }

  #finish(shown: Answer, stats: AnswerStats): void {
    if (!shown.place.isConnected) return; // another conversation has begun
    for (const old of this.#log.querySelectorAll(".again")) old.remove();
    const again = button("Regenerate", () => this.#again(shown.place), { class: "plain again" });
    shown.finish(stats, this.#panel.current?.context ?? Number.POSITIVE_INFINITY, again);
    this.#turns.push({ message: { role: "assistant", content: shown.text }, place: shown.place });
    if (stats.newTokens > 1) this.#panel.figure("speed", rate(stats.tokensPerSecond));
    this.#panel.figure("first", milliseconds(stats.firstTokenMs));
    this.#panel.figure("memory", bytes(stats.gpuBytes));
  }

  // The latest answer once more.
  #again(place: HTMLElement): void {
    if (this.#running !== undefined) return;
    place.remove();
    this.#turns = this.#turns.filter((turn) => turn.place !== place);
    void this.#answer();
  }
}

function introduction(model: CurrentModel | undefined, ask: (text: string) => void): Node[] {
  if (model === undefined)
    return [
      element("h2", {}, "Models on your own GPU"),
      element(
        "p",
        {},
        "A program exported with ExecuTorch runs here, in this browser, through WebGPU. Nothing you write leaves this machine.",
      ),
      element("p", { class: "quiet" }, "Choose a model to begin."),
    ];
  if (model.kind !== "chat")
    return [
      element("h2", {}, `${model.name} does not chat`),
      element("p", {}, "See its graph, or load a chat model."),
    ];
  return [
    element("h2", {}, `Ask ${model.name}`),
    element("p", { class: "quiet" }, "It is small, and sure of itself even where it is wrong."),
    element(
      "div",
      { class: "suggestions" },
      ...SUGGESTIONS.map((text) => button(text, () => ask(text), { class: "suggestion" })),
    ),
  ];
}

/** An answer on its way. */
class Answer {
  readonly #body = element("div", { class: "text" });
  readonly #foot = element("footer", {}, element("span", { class: "quiet" }, "Reading the prompt…"));
  readonly place = element(
    "article",
    { class: "answer writing" },
    element("span", { class: "hidden" }, "The model:"),
    this.#body,
    this.#foot,
  );
  text = "";
  #isDrawn = true;

  /** Pieces that come between two frames are drawn at once. */
  add(piece: string): void {
    if (this.text === "") this.#foot.replaceChildren();
    this.text += piece;
    if (!this.#isDrawn) return;
    this.#isDrawn = false;
    requestAnimationFrame(() => this.#draw());
  }

  #draw(): void {
    const scroll = this.place.closest(".scroll");
    const follows = scroll !== null && scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
    this.#body.textContent = this.text;
    this.#isDrawn = true;
    if (follows) scroll.scrollTop = scroll.scrollHeight;
  }

  finish(stats: AnswerStats, context: number, again: HTMLElement): void {
    this.#draw();
    this.place.classList.remove("writing");
    const parts = [
      plural(stats.newTokens, "token"),
      stats.newTokens > 1 && `${rate(stats.tokensPerSecond)} tokens/s`,
      `first after ${milliseconds(stats.firstTokenMs)}`,
      stats.end === "length" && stats.promptTokens + stats.newTokens >= context
        ? ENDS.context
        : ENDS[stats.end],
    ].filter(Boolean);
    this.#foot.replaceChildren(
      element("span", { class: "quiet" }, parts.join(" · ")),
      copyButton(() => this.text),
      again,
    );
    this.#scrollDown();
  }

  fail(error: unknown, again: HTMLElement): void {
    this.#draw();
    this.place.classList.remove("writing");
    this.#body.after(element("p", { class: "verdict bad", role: "alert" }, sentence(error)));
    this.#foot.replaceChildren(again);
    this.#scrollDown();
  }

  #scrollDown(): void {
    this.#foot.scrollIntoView({ block: "nearest" });
  }
}

const ENDS: Record<AnswerStats["end"], string> = {
  eos: "",
  stop: "",
  length: "cut at the most tokens",
  context: "the context is full",
  abort: "stopped",
};

function copyButton(text: () => string): HTMLElement {
  const copy = button(
    "Copy",
    async () => {
      await navigator.clipboard.writeText(text()).then(
        () => (copy.textContent = "Copied"),
        () => (copy.textContent = "Not allowed"),
      );
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    },
    { class: "plain" },
  );
  return copy;
}
