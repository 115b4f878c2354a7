/** What went wrong, in sentences over the page, which stays usable. */
import { button, byId, element } from "./dom.ts";

export function sentence(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).trim();
  const beginsWithFile = /^\S+\.\S/.test(text); // its name stays as it is
  const whole = beginsWithFile ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

export function showError(error: unknown): void {
  const text = sentence(error);
  const shown = [...byId("errors").children].find((old) => old.firstChild?.textContent === text);
  if (shown !== undefined) return; // once is enough
  const note = element("div", { class: "error" }, element("p", {}, text));
  note.append(button("Dismiss", () => note.remove()));
  byId("errors").append(note);
}

export function clearErrors(): void {
  byId("errors").replaceChildren();
}
