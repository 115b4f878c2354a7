/** Which file is what: a visitor drops several at once, in any order. */
import type { FilePlace, ModelFiles } from "../protocol.ts";

/** A model's files as far as they are there. */
export interface FoundFiles {
  name: string;
  program: FilePlace;
  data: FilePlace[];
  json?: FilePlace;
  config?: FilePlace;
  labels?: FilePlace;
}

export interface Sorted {
  model: Partial<Omit<FoundFiles, "name">>;
  pictures: File[];
  unknown: File[];
}

export const MODEL_ENDINGS = ".pte,.ptd,.json,.txt";

export function sortFiles(files: readonly File[]): Sorted {
  const sorted: Sorted = { model: {}, pictures: [], unknown: [] };
  const { model } = sorted;
  for (const file of files) {
    const name = file.name.toLowerCase();
    if (file.type.startsWith("image/")) sorted.pictures.push(file);
    else if (name.endsWith(".pte")) model.program = file;
    else if (name.endsWith(".ptd")) model.data = [...(model.data ?? []), file];
    else if (name.endsWith("tokenizer_config.json")) model.config = file;
    else if (name.endsWith("tokenizer.json")) model.json = file;
    else if (name.endsWith(".txt")) model.labels = file;
    else sorted.unknown.push(file);
  }
  return sorted;
}

export function toModelFiles({ json, config, ...files }: FoundFiles): ModelFiles {
  return json === undefined || config === undefined ? files : { ...files, tokenizer: { json, config } };
}

/** One of those that `executorch-webgpu serve` lists. */
interface ListedModel {
  name: string;
  program: string;
  bytes: number;
  data?: string[];
  tokenizer?: { json: string; config: string };
  labels?: string;
}

export interface OfferedModel {
  files: FoundFiles;
  bytes: number;
}

/** Models that the page's server offers; none where it is a server of plain files. */
export async function offeredModels(): Promise<OfferedModel[]> {
  const answer = await fetch("models.json").catch(() => undefined);
  const isJson = answer?.headers.get("Content-Type")?.startsWith("application/json");
  if (!answer?.ok || !isJson) return [];
  const { models } = (await answer.json()) as { models: ListedModel[] };
  const place = (address: string): string => new URL(address, document.baseURI).href;
  return models.map(({ name, program, bytes, data, tokenizer, labels }) => ({
    files: {
      name,
      program: place(program),
      data: (data ?? []).map(place),
      ...(tokenizer && { json: place(tokenizer.json), config: place(tokenizer.config) }),
      ...(labels && { labels: place(labels) }),
    },
    bytes,
  }));
}
