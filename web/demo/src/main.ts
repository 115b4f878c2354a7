/** The page: its parts, and what visitors drop on it. */
import { Chat } from "./page/chat.ts";
import { byId } from "./page/dom.ts";
import { showError } from "./page/errors.ts";
import { sortFiles } from "./page/files.ts";
import { GraphView } from "./page/graph.ts";
import { Images } from "./page/images.ts";
import { ModelPanel } from "./page/model.ts";
import { SamplingForm } from "./page/sampling.ts";
import { currentView, showView, startTabs } from "./page/tabs.ts";
import { startTheme } from "./page/theme.ts";
import { Client } from "./protocol.ts";

startTheme();
const client = new Client(new Worker(new URL("./worker/worker.ts", import.meta.url), { type: "module" }));
const panel = new ModelPanel(client);
const sampling = new SamplingForm();
panel.settings = ({ kind }) => (kind === "chat" ? sampling.element : undefined);
new Chat(client, panel, () => sampling.read());
new GraphView(client, panel);
const images = new Images(client, panel);
// What a model cannot do, it does not show.
panel.onModel((model) => {
  if (model?.kind === "image" && currentView() === "chat") showView("images");
  if (model?.kind === "chat" && currentView() === "images") showView("chat");
});
startTabs();
void panel.start();
void showAdapter();

panel.onFiles = (files) => {
  const { model, pictures, unknown } = sortFiles(files);
  for (const { name } of unknown)
    showError(
      `${name} is no program (.pte), data file (.ptd), tokenizer (tokenizer.json, tokenizer_config.json), list of labels (.txt) or picture`,
    );
  if (Object.keys(model).length > 0) panel.take(model);
  if (pictures.length > 0) void images.show(pictures[0]);
};

async function showAdapter(): Promise<void> {
  try {
    if (!("gpu" in navigator))
      throw new Error(
        isSecureContext
          ? "This browser has no WebGPU: Chrome and Edge from 113 on, Safari 26 and Firefox 141 have it"
          : "Browsers have WebGPU on https pages and on localhost only, and this page came over plain http",
      );
    const { name, kind, features } = await client.call("adapter", undefined);
    byId("adapter").textContent = name;
    byId("adapter").title = [`${name}, a ${kind} adapter`, ...features].join(", ");
  } catch (error) {
    byId("adapter").textContent = "no WebGPU";
    byId("adapter").classList.add("none");
    showError(error);
  }
}

// --- Drops and pastes, wherever they land ---

const hint = byId("drop");
let depth = 0; // of dragenter over nested elements
const isFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;

addEventListener("dragenter", (event) => {
  if (!isFiles(event)) return;
  ++depth;
  hint.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (isFiles(event) && --depth <= 0) hint.hidden = true;
});
addEventListener("dragover", (event) => {
  if (isFiles(event)) event.preventDefault();
});
addEventListener("drop", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  depth = 0;
  hint.hidden = true;
  panel.onFiles([...(event.dataTransfer?.files ?? [])]);
});
addEventListener("paste", (event) => {
  const pictures = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
  if (pictures.length > 0) void images.show(pictures[0]);
});
addEventListener("unhandledrejection", ({ reason }) => showError(reason));
