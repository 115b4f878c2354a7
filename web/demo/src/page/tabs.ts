/** Tabs as assistive technology expects them: arrows move, Home and End jump, the address remembers. */
import { byId } from "./dom.ts";

export type View = "chat" | "graph" | "images";
const VIEWS: readonly View[] = ["chat", "graph", "images"];

const shown = new Set<(view: View) => void>();
let current: View = "chat";

export const currentView = (): View => current;

export function startTabs(): void {
  for (const [i, view] of VIEWS.entries()) {
    const tab = byId(`tab-${view}`);
    tab.onclick = () => showView(view);
    tab.onkeydown = (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = VIEWS[(to + VIEWS.length) % VIEWS.length];
      showView(next);
      byId(`tab-${next}`).focus();
    };
  }
  const asked = (): View => VIEWS.find((view) => `#${view}` === location.hash) ?? "chat";
  addEventListener("hashchange", () => showView(asked()));
  showView(asked());
}

export function showView(wanted: View): void {
  current = wanted;
  for (const view of VIEWS) {
    const tab = byId(`tab-${view}`);
    tab.setAttribute("aria-selected", String(view === wanted));
    tab.tabIndex = view === wanted ? 0 : -1;
    byId(`view-${view}`).hidden = view !== wanted;
  }
  history.replaceState(null, "", `#${wanted}`);
  for (const listener of shown) listener(wanted);
}

export function onView(listener: (view: View) => void): void {
  shown.add(listener);
}
