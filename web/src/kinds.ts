/** Kinds of files by how they begin, for what comes in another's place. */
import { type ByteSource, readHead } from "./source.ts";

export type Kind = "program" | "data" | "compiled";

const KINDS: { kind?: Kind; begins: RegExp; what: string }[] = [
  { kind: "program", begins: /^.{4}ET12/s, what: "a program (.pte)" },
  { kind: "data", begins: /^.{4}FT01/s, what: "tensor data (.ptd)" },
  { kind: "compiled", begins: /^ETWG/, what: "a compiled program (.etwg), which CompiledProgram loads" },
  // A program may begin with "<", too.
  { begins: /^\s*<(!doctype|html|head|\?xml)/i, what: "a web page (HTML): is the address right?" },
  { begins: /^\x89PNG/, what: "a PNG image" },
  {
    begins: /^version https:\/\/git-lfs/,
    what: "a pointer of Git LFS: fetch the file that it stands for (git lfs pull)",
  },
  { begins: /^PK\W\W/, what: "a zip archive" },
  { begins: /^GGUF/, what: "a GGUF file" },
];

/** What a file is that should be of a kind, if that can be told. */
export async function otherKind(
  source: ByteSource,
  wanted: Kind,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const begin = String.fromCharCode(...(await readHead(source, 32, signal)));
  return KINDS.find(({ kind, begins }) => kind !== wanted && begins.test(begin))?.what;
}
