#!/usr/bin/env bash
# clang-tidy over src/, a file per core at a time: two minutes on two cores. `scripts/tidy.sh FILE...`
# looks at some files only. Its checks, and why some are off, are in .clang-tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

# Not compiled: clang-tidy needs to know the commands, and the headers that are generated.
cmake -S . -B build/tidy -G Ninja -DPython_EXECUTABLE="$PWD/.venv/bin/python" >/dev/null
cmake --build build/tidy --target etwebgpu_generate_schemas >/dev/null
# The folder src/wasm has a build of its own, for another machine.
files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(git ls-files 'src/*.cpp' ':!src/wasm')
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p build/tidy
echo "tidy: clean"
