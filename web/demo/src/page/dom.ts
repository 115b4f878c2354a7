/** Elements in one expression, without a framework. */

type Child = Node | string | false | undefined;
type Properties<E extends Element> = Partial<Omit<E, "style" | "dataset" | "children" | "classList">> & {
  class?: string;
  /** Attributes as they are written: aria-label, role. */
  [attribute: `aria-${string}`]: string;
  role?: string;
  for?: string;
};

const ATTRIBUTES = /^(aria-|role$|for$|class$)/;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (ATTRIBUTES.test(name)) made.setAttribute(name, String(value));
    else if (value !== undefined) (made as Record<string, unknown>)[name] = value;
  made.append(...children.filter((child) => child !== undefined && child !== false));
  return made;
}

export function button(
  label: string,
  onclick: (event: MouseEvent) => void,
  properties: Properties<HTMLButtonElement> = {},
): HTMLButtonElement {
  return element("button", { type: "button", onclick, ...properties }, label);
}

/** The page's own elements, which index.html has. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element '${id}'`);
  return found as E;
}

/** A button's picture: paths of 24 by 24. */
export function icon(path: string): SVGSVGElement {
  const svg = svgElement("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: "glyph" });
  svg.append(svgElement("path", { d: path }));
  return svg;
}

export function svgElement<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number>,
): SVGElementTagNameMap[K] {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** Asks for a file; `chosen` hears of all. */
export function fileButton(
  label: string,
  accept: string,
  chosen: (files: File[]) => void,
  properties: Properties<HTMLButtonElement> = {},
): HTMLElement {
  const input = element("input", { type: "file", accept, multiple: true, hidden: true });
  input.onchange = () => {
    if (input.files !== null && input.files.length > 0) chosen([...input.files]);
    input.value = ""; // the same file can be chosen again
  };
  const opener = button(label, () => input.click(), properties);
  return element("span", { class: "file" }, opener, input);
}
