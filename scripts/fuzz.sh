#!/usr/bin/env bash
# Fuzzes the readers of delegate blobs, programs and tensor data files with libFuzzer, AddressSanitizer and
# UBSan, from valid files made on the spot. Also builds the core's units with both sanitizers.
#   scripts/fuzz.sh [SECONDS]      default 60; the corpus found so far is kept in build/fuzz/corpus
# An input that fails is left in build/fuzz and named in the output; build/fuzz/tests/fuzz/fuzz_format FILE
# runs it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
seconds=${1:-60}
clang=$(command -v clang++-19 || command -v clang++)

cmake -S . -B build/fuzz -G Ninja -DETWEBGPU_FUZZ=ON -DETWEBGPU_TESTS=ON -DETWEBGPU_ADAPTER=OFF -DCMAKE_CXX_COMPILER="$clang" \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE="$PWD/.venv/bin/python" >/dev/null
cmake --build build/fuzz --target fuzz_format make_corpus core_tests
build/fuzz/tests/fuzz/make_corpus build/fuzz/seeds
mkdir -p build/fuzz/corpus
cd build/fuzz
# A small file may need little memory and time only.
tests/fuzz/fuzz_format -seed=1 -max_total_time="$seconds" -max_len=65536 -timeout=5 -rss_limit_mb=1024 \
  -malloc_limit_mb=64 -print_final_stats=1 -print_funcs=0 -verbosity=0 -dict=../../tests/fuzz/format.dict corpus seeds 2>&1 |
  sed '/# Recommended dictionary/,/# End of recommended dictionary/d'
