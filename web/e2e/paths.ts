/** Where the repository and its Python are. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";

export const REPOSITORY = resolve(import.meta.dirname, "../..");
const own = `${REPOSITORY}/.venv/bin/python`;
export const PYTHON = process.env.PYTHON ?? (existsSync(own) ? own : "python3");
