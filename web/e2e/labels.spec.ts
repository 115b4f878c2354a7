/** What assistive technology and weak eyes need, checked by hand in every view, light and dark. */
import { expect, type Page } from "@playwright/test";
import { ask, drop, load, picture, test } from "./support.ts";

const VIEWS: Record<string, (page: Page) => Promise<void>> = {
  "the choice of models": async () => {},
  "a checked model": async (page) => {
    await page.getByRole("button", { name: /babble/ }).click();
    await page.getByRole("button", { name: "Load the model" }).waitFor();
  },
  "a refused model": async (page) => {
    await drop(page, { name: "wrong.pte", content: "hello" });
    await page.getByText("It cannot be used").waitFor();
    await drop(page, { name: "strange.xyz", content: "hello" });
  },
  "a conversation": async (page) => {
    await load(page, /babble/);
    const unfold = page.getByRole("button", { name: "babble", exact: true });
    if (await unfold.isVisible()) await unfold.click(); // on a phone
    await page.getByText("Sampling").click();
    await ask(page, "abcd");
    await page.getByRole("button", { name: "Regenerate" }).waitFor();
  },
  "the graph": async (page) => {
    await load(page, /babble/);
    await page.getByRole("tab", { name: "Graph" }).click();
    await page.getByRole("button", { name: "Measure a step" }).click();
    await page.getByText("A step takes the GPU").waitFor();
    await page
      .getByRole("button", { name: /rope_sdpa/ })
      .first()
      .click();
  },
  "a picture's classes": async (page) => {
    await load(page, /colours/);
    await drop(page, await picture(page, "red"));
    await page.locator(".classes .bar").first().waitFor();
  },
};

for (const colorScheme of ["light", "dark"] as const)
  for (const [name, arrange] of Object.entries(VIEWS))
    test(`${name}, ${colorScheme}: names, references, headings and contrast`, async ({ page }) => {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await arrange(page);
      expect(await page.evaluate(findings)).toEqual([]);
    });

test("a phone's width needs no scrolling sideways, and targets are large enough", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const arrange of [VIEWS["a conversation"], VIEWS["the graph"], VIEWS["a picture's classes"]]) {
    await page.goto("/");
    await arrange(page);
    const wrong = await page.evaluate(() =>
      [...document.querySelectorAll<HTMLElement>("main *, aside *, header *")]
        .filter((one) => one.checkVisibility() && !one.matches(".hidden"))
        .filter((one) => {
          const { right, height } = one.getBoundingClientRect();
          return right > 360.5 || (one.matches("button, select, input, summary") && height < 24);
        })
        .map((one) => one.outerHTML.slice(0, 80)),
    );
    expect(wrong).toEqual([]);
  }
});

/** In the page: sentences about whatever is wrong. */
function findings(): string[] {
  const found: string[] = [];
  const describe = (one: Element): string => one.outerHTML.slice(0, 90);
  const visible = [...document.querySelectorAll<HTMLElement>("body *")].filter((one) =>
    one.checkVisibility({ opacityProperty: true, visibilityProperty: true }),
  );

  const labelled = (one: HTMLElement): boolean => {
    const by = one.getAttribute("aria-labelledby");
    const labels = "labels" in one ? [...((one as HTMLInputElement).labels ?? [])] : [];
    const own = /^(BUTTON|A|SUMMARY)$/.test(one.tagName) ? one.textContent : "";
    const texts = [one.getAttribute("aria-label"), own, by && document.getElementById(by)?.textContent];
    return [...texts, ...labels.map((label) => label.textContent)].some((text) => (text ?? "").trim() !== "");
  };
  const NAMED =
    "button, a, input:not([type=file]), select, textarea, summary, progress, canvas, video, aside, [role=tablist], [role=tabpanel], [role=log]";
  for (const one of visible)
    if (one.matches(NAMED) && !labelled(one)) found.push(`no name: ${describe(one)}`);

  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids))
    if (ids.filter((other) => other === id).length > 1) found.push(`twice: ${id}`);
  for (const attribute of ["aria-controls", "aria-labelledby", "for"])
    for (const one of document.querySelectorAll(`[${attribute}]`))
      if (!ids.includes(one.getAttribute(attribute) ?? "")) found.push(`refers to nothing: ${describe(one)}`);

  if (document.documentElement.lang === "") found.push("the page has no language");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  let level = 1;
  for (const heading of visible.filter((one) => /^H\d$/.test(one.tagName))) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) found.push(`a level left out: ${describe(heading)}`);
    level = own;
  }
  for (const one of visible.filter(({ tabIndex }) => tabIndex > 0)) found.push(`tabindex: ${describe(one)}`);

  // Contrast of text with the colours painted behind it: 4.5, or 3 where it is large.
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true })!;
  const rgba = (colour: string): number[] => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const over = (top: number[], below: number[]): number[] =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (one: Element | null): number[] => {
    if (one === null) return [1, 1, 1];
    const own = rgba(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(one.parentElement));
  };
  const luminance = (colour: number[]): number => {
    const [r, g, b] = colour.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const one of visible) {
    const hasText = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim());
    if (!hasText || one.matches(":disabled, .hidden, .skip")) continue;
    const style = getComputedStyle(one);
    const behind = ground(one);
    const text = over(rgba(style.color), behind);
    const [bright, dim] = [luminance(text), luminance(behind)].sort((a, b) => b - a);
    const contrast = (bright + 0.05) / (dim + 0.05);
    const isLarge = Number.parseFloat(style.fontSize) >= 24;
    if (contrast < (isLarge ? 3 : 4.5)) found.push(`contrast ${contrast.toFixed(2)}: ${describe(one)}`);
  }
  return found;
}
