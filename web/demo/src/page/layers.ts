/** A plan's dispatches as people read them: what each is for, and layers that repeat, once. */
import type { GraphNode } from "../protocol.ts";

export type Family = "linear" | "attention" | "convolution" | "lookup" | "rows" | "movement" | "other";

export interface Step extends GraphNode {
  index: number;
  /** The operator, without namespaces. */
  operator: string;
  /** What the weights are for: q, k, v; where the exporter named them by their contents, what the kernel adds. */
  roles: string[];
  /** The kernel's name without its parameters. */
  template: string;
  family: Family;
}

const FAMILIES: [RegExp, Family][] = [
  [/attention|sdpa/, "attention"],
  [/^(gemm|gemv|linear|matmul|products?)/, "linear"],
  [/conv/, "convolution"],
  [/embedding|gather|index/, "lookup"],
  [/row|norm|softmax|reduce|pool|mean|sum/, "rows"],
  [/copy|permute|cat|slice|view|move|strided|pad/, "movement"],
];

export function stepsOf(nodes: readonly GraphNode[]): Step[] {
  return nodes.map((node, index) => {
    const template = node.kernel.split(/[[(]/, 1)[0];
    const operator = node.call.replace(/^(\w+\.)(?=.)/, "").replace(/\.\w+$/, "");
    const named = `${template} ${operator}`;
    const family = FAMILIES.find(([pattern]) => pattern.test(template))?.[1];
    return {
      ...node,
      index,
      operator,
      template,
      roles: rolesOf(node),
      family: family ?? FAMILIES.find(([pattern]) => pattern.test(named))?.[1] ?? "other",
    };
  });
}

// Parameters of kernels that say what is computed besides the product.
const EXTRAS: [RegExp, string][] = [
  [/\bNORM=1\b/, "norm"],
  [/\bPARTS=2\b/, "2 parts"],
  [/\bPARTS=3\b/, "3 parts"],
  [/\bGATED=1\b/, "gated"],
  [/\bRESIDUAL=1\b/, "residual"],
];

function rolesOf({ weights, kernel }: GraphNode): string[] {
  const named = [...new Set(weights.map(roleOf))].filter(Boolean);
  if (named.length > 0) return named;
  return EXTRAS.flatMap(([pattern, name]) => (pattern.test(kernel) ? [name] : []));
}

const CONTENT_HASH = /^[0-9a-f]{32,}$/;

// The last word of a weight's key that says something: layers.3.attention.wq.weight is wq.
function roleOf(key: string): string {
  const words = key.split(/[._]?\b(?:weight|scales?|bias|zeros?|qdata|packed)\b|[./]/).filter(Boolean);
  return words.filter((word) => !/^\d+$/.test(word) && !CONTENT_HASH.test(word)).at(-1) ?? "";
}

/** Steps one after another, or a sequence of them that comes several times. */
export interface Block {
  steps: Step[];
  times: number;
}

const LONGEST_LAYER = 64;

/** Finds the sequence whose repetition covers most. */
export function foldLayers(steps: readonly Step[]): Block[] {
  const signs = steps.map(({ operator, template, roles }) => `${operator} ${template} ${roles}`);
  let best = { begin: 0, length: 0, times: 1 };
  for (let length = 1; length <= Math.min(LONGEST_LAYER, steps.length / 2); ++length)
    for (let begin = 0, same = 0; begin + length < steps.length; ++begin) {
      same = signs[begin] === signs[begin + length] ? same + 1 : 0;
      const times = Math.floor(same / length) + 1;
      const covers = times > 1 ? times * length : 0;
      if (covers > best.length * best.times || (best.times === 1 && covers > 0))
        best = { begin: begin + 1 - (times - 1) * length, length, times };
    }
  if (best.times < 3) return [{ steps: [...steps], times: 1 }];
  const end = best.begin + best.length * best.times;
  return [
    { steps: steps.slice(0, best.begin), times: 1 },
    { steps: steps.slice(best.begin, best.begin + best.length), times: best.times },
    ...foldLayers(steps.slice(end)),
  ].filter(({ steps }) => steps.length > 0);
}

export interface Bar {
  title: string;
  template: string;
  family: Family;
  onCpu: boolean;
  count: number;
  milliseconds: number;
}

/** Time by kernel and what it is for, the longest first. */
export function barsOf(steps: readonly Step[]): Bar[] {
  const bars = new Map<string, Bar>();
  for (const { operator, template, kernel, roles, family, onCpu, milliseconds = 0 } of steps) {
    const title = titleOf({ operator, roles });
    const key = `${title} ${kernel}`;
    const bar = bars.get(key) ?? { title, template, family, onCpu, count: 0, milliseconds: 0 };
    bar.count += 1;
    bar.milliseconds += milliseconds;
    bars.set(key, bar);
  }
  return [...bars.values()].sort((a, b) => b.milliseconds - a.milliseconds || b.count - a.count);
}

export function titleOf({ operator, roles }: Pick<Step, "operator" | "roles">): string {
  return roles.length === 0 || roles.length > 5 ? operator : `${operator} · ${roles.join(", ")}`;
}
