#!/usr/bin/env bash
# clang-tidy over src/, a file per core at a time: six minutes on two cores, nearly all of them for following paths
# through functions (clang-analyzer). `scripts/tidy.sh --quick` does that only in the rooms that read files first,
# `scripts/tidy.sh FILE...` looks at some files only. Its checks, and why some are off, are in .clang-tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

# Not compiled: clang-tidy needs to know the commands, and the headers that are generated.
cmake -S . -B build/tidy -G Ninja -DPython_EXECUTABLE="$PWD/.venv/bin/python" >/dev/null
cmake --build build/tidy --target etwebgpu_generate_schemas >/dev/null
tidy() { xargs -r -P "$(nproc)" -n 1 clang-tidy --quiet -p build/tidy "$@"; }
read_first=(src/base src/format src/executorch)
if [ "${1:-}" = --quick ]; then
  git ls-files "${read_first[@]/%//*.cpp}" | tidy
  git ls-files 'src/*.cpp' ':!src/wasm' "${read_first[@]/#/:!}" | tidy '--checks=-clang-analyzer-*'
elif [ $# -gt 0 ]; then
  printf '%s\n' "$@" | tidy
else
  git ls-files 'src/*.cpp' ':!src/wasm' | tidy  # src/wasm has a build of its own, for another machine
fi
echo "tidy: clean"
