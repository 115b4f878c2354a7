#!/usr/bin/env bash
# Compiles the core for wasm32 and proves what it is: a module without a single import (so: no GPU, thread,
# file, clock or console), which loads a delegate blob, plans it, and hands out kernels and weights.
#   scripts/build_wasm.sh            makes build/wasm/etwebgpu.wasm and runs its test in node
#   scripts/build_wasm.sh --module   only makes it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
python=$PWD/.venv/bin/python

cmake -S src/wasm -B build/wasm -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/wasm32.cmake" \
  -DCMAKE_BUILD_TYPE=MinSizeRel -DPython_EXECUTABLE="$python" >/dev/null
cmake --build build/wasm
[ "${1:-}" = --module ] && exit

# Valid files for the test, from the same source as the fuzzer's.
cmake -S . -B build/tests -G Ninja -DETWEBGPU_TESTS=ON -DETWEBGPU_ADAPTER=OFF \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DPython_EXECUTABLE="$python" >/dev/null
cmake --build build/tests --target make_corpus
build/tests/tests/fuzz/make_corpus build/wasm/samples
node tests/wasm/core.test.mjs build/wasm/etwebgpu.wasm build/wasm/samples
