/** What a program's methods are, as far as its head says: constants, and those that cannot run here. */
import { ModelError } from "./errors.ts";
import type { ProgramForm, ProgramMethod } from "./forms.ts";

export const BACKEND = "VulkanBackend";

export const isConstant = (form: ProgramMethod): boolean =>
  form.kernel_calls === 0 && form.calls.length === 0 && form.inputs.length === 0;

type Constant = number | boolean | string | null;
/** Methods such as get_max_seq_len, which only give values. */
export type Constants = ReadonlyMap<string, Constant | Constant[]>;

export function constantsOf(form: Pick<ProgramForm, "methods">): Constants {
  return new Map(
    form.methods.filter(isConstant).map(({ name, outputs }) => {
      const values = outputs.map(({ value }) => value ?? null);
      return [name, values.length === 1 ? values[0] : values];
    }),
  );
}

/** Why a method cannot run here, as far as the program's head says. */
export function refusalsOf({ name, delegates }: ProgramMethod): string[] {
  const out: string[] = [];
  for (const { backend } of delegates)
    if (backend !== BACKEND) out.push(`method '${name}' has a delegate for ${backend}, not for ${BACKEND}`);
  return out;
}

type CpuChain = typeof import("./cpu/chain.ts");

/** What runs methods that do more than to call delegates, fetched for those that do. */
export async function chainFor(methods: readonly ProgramMethod[]): Promise<CpuChain | undefined> {
  return methods.some(({ host }) => host !== undefined) ? import("./cpu/chain.ts") : undefined;
}

/** Those that run, or of these those with the given names. */
export function methodsOf(methods: readonly ProgramMethod[], names?: readonly string[]): ProgramMethod[] {
  const all = methods.filter((method) => !isConstant(method));
  const missing = names?.find((name) => all.every((method) => method.name !== name));
  if (missing !== undefined)
    throw new ModelError(
      `the program has no method '${missing}', but ${all.map(({ name }) => name).join(", ")}`,
    );
  return names === undefined ? all : all.filter(({ name }) => names.includes(name));
}
