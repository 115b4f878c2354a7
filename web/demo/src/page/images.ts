/** Pictures, dropped or from the camera, and what the model takes them for. */
import type { Classes, Client, Normalization } from "../protocol.ts";
import { button, byId, element, fileButton } from "./dom.ts";
import { clearErrors, showError } from "./errors.ts";
import { milliseconds, percent } from "./format.ts";
import type { CurrentModel, ModelPanel } from "./model.ts";
import { onView, showView } from "./tabs.ts";

const NORMALIZATIONS: Record<Normalization, string> = {
  imagenet: "ImageNet's mean and deviation",
  unit: "0 to 1",
  signed: "−1 to 1",
};

export class Images {
  readonly #client: Client;
  readonly #panel: ModelPanel;
  readonly #stage = element("div", { class: "stage" });
  readonly #video = element("video", { muted: true, playsInline: true, autoplay: true });
  readonly #classes = element("ol", { class: "bars classes", "aria-live": "polite" });
  readonly #note = element("p", { class: "quiet" });
  readonly #normalization = element(
    "select",
    { id: "normalization", onchange: () => void this.#again() },
    ...Object.entries(NORMALIZATIONS).map(([value, label]) => element("option", { value }, label)),
  );
  readonly #camera = button("Use the camera", () => void this.#toggleCamera());
  #stream: MediaStream | undefined;
  #picture: Blob | undefined;

  constructor(client: Client, panel: ModelPanel) {
    this.#client = client;
    this.#panel = panel;
    panel.onModel((model) => this.#setModel(model));
    onView((view) => {
      if (view !== "images") this.#stopCamera();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#stopCamera();
    });
    this.#setModel(undefined);
  }

  /** A picture that the visitor dropped or pasted. */
  async show(picture: Blob): Promise<void> {
    showView("images");
    if (this.#panel.current?.picture === undefined) {
      showError("Load an image model first: then it can say what the picture shows");
      return;
    }
    this.#stopCamera();
    try {
      const bitmap = await createImageBitmap(picture).catch(() => {
        throw new Error(
          `${picture instanceof File ? picture.name : "This"} is not a picture that the browser can read`,
        );
      });
      this.#picture = picture;
      this.#draw(bitmap);
      await this.#classify(bitmap);
    } catch (error) {
      showError(error);
    }
  }

  #setModel(model: CurrentModel | undefined): void {
    this.#stopCamera();
    this.#picture = undefined;
    this.#classes.replaceChildren();
    this.#note.textContent = "";
    const root = byId("view-images");
    if (model?.picture === undefined) {
      root.replaceChildren(empty(model));
      return;
    }
    const { width, height, channels } = model.picture;
    this.#stage.replaceChildren(
      element("p", {}, "Drop a picture here"),
      element("p", { class: "quiet" }, "or paste one; it stays on this machine"),
    );
    root.replaceChildren(
      element(
        "header",
        { class: "graph-head" },
        element(
          "div",
          {},
          element("h2", {}, "What is in the picture?"),
          element(
            "p",
            { class: "quiet" },
            `${model.name} sees the middle of it in ${width} × ${height} pixels${channels === 1 ? " of grey" : ""}.`,
          ),
        ),
      ),
      element(
        "div",
        { class: "image-columns" },
        element(
          "section",
          { "aria-label": "Picture" },
          this.#stage,
          element(
            "div",
            { class: "actions" },
            fileButton("Choose a picture", "image/*", ([picture]) => void this.show(picture), {
              class: "primary",
            }),
            this.#camera,
          ),
          element(
            "p",
            { class: "select" },
            element("label", { for: "normalization" }, "Pixels become"),
            this.#normalization,
          ),
        ),
        element(
          "section",
          { "aria-labelledby": "classes-title" },
          element("h3", { id: "classes-title" }, "Likeliest classes"),
          this.#note,
          this.#classes,
        ),
      ),
    );
    this.#note.textContent =
      model.labels.length > 0
        ? "Nothing to see yet."
        : "Without a labels file (.txt, a name in each line), classes are numbers.";
  }

  #draw(bitmap: ImageBitmap): void {
    const canvas = element("canvas", {
      width: bitmap.width,
      height: bitmap.height,
      role: "img",
      "aria-label": this.#picture instanceof File ? this.#picture.name : "The picture",
    });
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    this.#stage.replaceChildren(canvas);
  }

  async #again(): Promise<void> {
    if (this.#picture !== undefined) await this.show(this.#picture);
  }

  async #classify(picture: ImageBitmap): Promise<void> {
    const model = this.#panel.current;
    const normalization = this.#normalization.value as Normalization;
    const classes = await this.#client.call("classify", { picture, normalization }, { transfer: [picture] });
    if (model === undefined || this.#panel.current !== model) return;
    this.#showClasses(model, classes);
  }

  #showClasses(model: CurrentModel, { top, milliseconds: taken }: Classes): void {
    this.#panel.figure("picture", milliseconds(taken));
    this.#note.textContent = `In ${milliseconds(taken)}.`;
    this.#classes.replaceChildren(
      ...top.map(({ index, share }) => {
        const length = element("span", { class: "length" });
        length.style.width = `${100 * share}%`;
        return element(
          "li",
          { class: "bar" },
          element("span", { class: "name" }, model.labels[index] || `class ${index}`),
          element("span", { class: "value" }, percent(share)),
          element("span", { class: "track" }, length),
        );
      }),
    );
  }

  // --- The camera ---

  async #toggleCamera(): Promise<void> {
    if (this.#stream !== undefined) {
      this.#stopCamera();
      return;
    }
    clearErrors();
    try {
      if (navigator.mediaDevices === undefined)
        throw new Error("this page may not use a camera: it needs https");
      this.#stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 640 } },
      });
    } catch (error) {
      showError(
        error instanceof DOMException ? `The camera cannot be used: ${error.message || error.name}` : error,
      );
      return;
    }
    this.#video.srcObject = this.#stream;
    this.#video.setAttribute("aria-label", "The camera's picture");
    this.#stage.replaceChildren(this.#video);
    this.#camera.textContent = "Stop the camera";
    await this.#watch(this.#stream);
  }

  // One frame after the other, as fast as the model takes them.
  async #watch(stream: MediaStream): Promise<void> {
    const video = this.#video;
    try {
      await video.play();
      while (this.#stream === stream) {
        await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
        if (this.#stream === stream) await this.#classify(await createImageBitmap(video));
      }
    } catch (error) {
      if (this.#stream !== stream) return; // it was stopped meanwhile
      this.#stopCamera();
      showError(error);
    }
  }

  #stopCamera(): void {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = undefined;
    this.#video.srcObject = null;
    this.#camera.textContent = "Use the camera";
  }
}

function empty(model: CurrentModel | undefined): HTMLElement {
  return element(
    "div",
    { class: "intro" },
    element("h2", {}, model === undefined ? "What is in the picture?" : `${model.name} takes no pictures`),
    element(
      "p",
      {},
      "Load a program that takes one picture of [1, 3, height, width] and gives a number for each class, with a text file of the classes’ names.",
    ),
  );
}
