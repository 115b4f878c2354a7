#!/usr/bin/env bash
# Compiles the core for wasm32, into a module without a single import: build/wasm/etwebgpu.wasm. Beside it
# come small valid files for tests, build/wasm/samples, from the same source as the fuzzer's, some of them compiled
# ahead of time by the installed package.
#   scripts/build_wasm.sh            both
#   scripts/build_wasm.sh --module   the module only
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
python=$PWD/.venv/bin/python

cmake -S src/wasm -B build/wasm -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/wasm32.cmake" \
  -DCMAKE_BUILD_TYPE=MinSizeRel -DPython_EXECUTABLE="$python" >/dev/null
cmake --build build/wasm
[ "${1:-}" = --module ] && exit

cmake -S . -B build/tests -G Ninja -DETWEBGPU_TESTS=ON -DETWEBGPU_ADAPTER=OFF \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DPython_EXECUTABLE="$python" >/dev/null
cmake --build build/tests --target make_corpus
build/tests/tests/fuzz/make_corpus build/wasm/samples
"$python" -m executorch_webgpu compile build/wasm/samples/decoder.pte --sizes 1x1 --sizes 1x5 \
  --limits web/test/software.json
"$python" -m executorch_webgpu compile build/wasm/samples/states.pte --method add --method get \
  --sizes add:4 --sizes get:4
