/** Light, dark, or as the system has it. */
import { byId, icon } from "./dom.ts";

const THEMES = {
  system: { label: "as the system has it", path: "M3 5h18v11H3zM9 20h6M12 16v4" },
  light: {
    label: "light",
    path: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5 19 19M5 19l1.5-1.5M17.5 6.5 19 5",
  },
  dark: { label: "dark", path: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5" },
} as const;
type Theme = keyof typeof THEMES;

export function startTheme(): void {
  const order = Object.keys(THEMES) as Theme[];
  const opener = byId<HTMLButtonElement>("theme");
  let theme = order.find((name) => name === localStorage.getItem("theme")) ?? "system";

  const show = (): void => {
    document.documentElement.dataset.theme = theme;
    opener.replaceChildren(icon(THEMES[theme].path));
    opener.title = `Colours: ${THEMES[theme].label}`;
    opener.setAttribute("aria-label", opener.title);
  };
  opener.onclick = () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    localStorage.setItem("theme", theme);
    show();
  };
  show();
}
