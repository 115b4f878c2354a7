/** Numbers for people. */

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB"];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    ++unit;
  }
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${units[unit]}`;
}

export function milliseconds(value: number): string {
  if (value >= 1000) return `${(value / 1000).toFixed(value < 9950 ? 1 : 0)} s`;
  if (value >= 0.995) return `${value.toFixed(value < 9.95 ? 1 : 0)} ms`;
  return `${(value * 1000).toFixed(0)} µs`;
}

export const rate = (perSecond: number): string =>
  perSecond > 0 ? perSecond.toFixed(perSecond < 99.5 ? 1 : 0) : "–";

export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
