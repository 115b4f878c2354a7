#!/usr/bin/env bash
# Every check and test, in the order of how fast they fail. Called by `./dev test`, which installs what
# they need. Arguments go to pytest and then only pytest runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
python=$PWD/.venv/bin/python
step() { printf '\033[1m==> %s (%s s)\033[0m\n' "$*" "$SECONDS" >&2; }

lavapipe=/usr/share/vulkan/icd.d/lvp_icd.json
[ -e "$lavapipe" ] || lavapipe=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json)
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json

if [ $# -gt 0 ]; then
  VK_ICD_FILENAMES=$lavapipe exec "$python" -m pytest "$@"
fi

step "Lint"
scripts/lint.sh

step "clang-tidy"
scripts/tidy.sh --quick

# Compiled fast rather than fast when compiled; the installed library is the optimized one. The core's units are
# built once, with sanitizers, below.
step "C++ units on the GPU"
cmake -S . -B build/tests -G Ninja -DETWEBGPU_TESTS=ON -DETWEBGPU_ADAPTER=OFF \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DPython_EXECUTABLE="$python" >/dev/null
cmake --build build/tests --target webgpu_tests webgpu_tests_module core_exports
VK_ICD_FILENAMES=$lavapipe ctest --test-dir build/tests --output-on-failure -j2 -E core_tests_NOT_BUILT

step "Fuzzing the format readers, and the core's units, with AddressSanitizer and UBSan"
scripts/fuzz.sh 20
# libstdc++ frees the buffer of its stable sort in a way that clang's sanitizer takes for a mismatch.
seq 0 $(($(nproc) - 1)) | ASAN_OPTIONS=alloc_dealloc_mismatch=0 GTEST_TOTAL_SHARDS=$(nproc) xargs -P 0 -I % \
  env GTEST_SHARD_INDEX=% build/fuzz/tests/cpp/core_tests --gtest_brief=1

step "The core for wasm32"
scripts/build_wasm.sh
step "TypeScript: lavapipe through Node's Dawn"
web_tests() { (cd web && VK_ICD_FILENAMES=$lavapipe npx vitest run "$@"); }
web_tests --exclude '**/{cases,kernels,mixed,mixed_chat,damaged}.test.ts'  # of what is recorded below

step "The npm package and the page"
scripts/build_web.sh

# Both providers, two software adapters, and the kernels for GPUs beside those for software adapters: so each
# kernel meets both WGSL front ends, and limits far below a GPU's. The scale is the share of random cases.
ops=tests/python/ops
gpu_kernels=($ops/{quantized/test_groups,linear/test_matmul,attention/test_attention,attention/test_rotary}.py
  $ops/test_{decoder,steps}.py $ops/rows)
on_swiftshader() {
  export VK_ICD_FILENAMES=$swiftshader
  step "Operators, SwiftShader through wgpu-native"
  ETWEBGPU_PROVIDER=wgpu-native ETWEBGPU_TEST_SCALE=0.06 ETWEBGPU_TEST_SHARE=0.3 "$python" -m pytest $ops || return
  local provider
  for provider in dawn wgpu-native; do
    step "Operators with the kernels for GPUs, SwiftShader through $provider"
    ETWEBGPU_PROVIDER=$provider ETWEBGPU_KERNELS=discrete ETWEBGPU_TEST_SCALE=0.06 ETWEBGPU_TEST_SHARE=0.7 \
      "$python" -m pytest "${gpu_kernels[@]}" || return
    step "The same with products of bytes in layers of any size, and for trusted programs"
    ETWEBGPU_PROVIDER=$provider ETWEBGPU_KERNELS=discrete,bytes,few_rows ETWEBGPU_TRUSTED=1 ETWEBGPU_TEST_SCALE=0.06 \
      "$python" -m pytest $ops/quantized/test_groups.py $ops/test_decoder.py || return
  done
  step "Decoders with WebGPU's default limits and no optional feature"
  ETWEBGPU_PROVIDER=wgpu-native ETWEBGPU_KERNELS=discrete,portable ETWEBGPU_TEST_SCALE=0.06 \
    "$python" -m pytest $ops/test_decoder.py $ops/attention/test_attention.py $ops/quantized/test_groups.py || return
  # A kernel that reads workgroup memory before it writes it fails. Lavapipe's workgroups find there what earlier
  # ones left, if the provider does not zero it: Dawn does not for trusted programs.
  export VK_ICD_FILENAMES=$lavapipe ETWEBGPU_PROVIDER=dawn ETWEBGPU_TRUSTED=1 ETWEBGPU_POISON_WORKGROUP=1
  step "Workgroup memory full of NaN before every dispatch"
  ETWEBGPU_TEST_SCALE=0.05 "$python" -m pytest $ops/attention/test_attention.py $ops/rows || return
  ETWEBGPU_KERNELS=discrete ETWEBGPU_TEST_SCALE=0.02 "$python" -m pytest $ops/attention/test_attention.py $ops/rows
}

others() {
  step "Python: all but operators, lavapipe through Dawn"
  VK_ICD_FILENAMES=$lavapipe ETWEBGPU_TEST_SCALE=$scale "$python" -m pytest tests/python --durations 10 \
    --ignore $ops --ignore tests/python/format --ignore tests/python/web --ignore tests/python/wasm --ignore tests/python/benchmarks
}

# Side by side: neither keeps two cores busy by itself.
scale=${ETWEBGPU_TEST_SCALE:-0.1}
step "Python: operators, lavapipe through Dawn; and beside it what is shown afterwards"
others >build/others.log 2>&1 &
others=$!
trap 'kill $others 2>/dev/null || true' EXIT
VK_ICD_FILENAMES=$lavapipe ETWEBGPU_TEST_SCALE=$scale "$python" -m pytest tests/python/format tests/python/web $ops --durations 10 \
  --record build/cases
(on_swiftshader)  # whose settings end there
VK_ICD_FILENAMES=$lavapipe "$python" -m pytest tests/python/benchmarks
step "A tenth of the ExecuTorch wheel's own suites"
scripts/test_suites.sh 0.1
wait $others && passed=1 || passed=0
cat build/others.log
[ $passed = 1 ]

step "What was compared there: planned by both builds of the core, run by the TypeScript executor in Node"
"$python" -m pytest tests/python/wasm
ETWEBGPU_TEST_SHARE=0.33 web_tests cases kernels mixed damaged

# `npm run e2e` has the page's faults and SmolLM2 in it as well, which take minutes, and how long tasks take, which a busy
# machine decides.
step "The page, and operators, in Chromium"
(cd web && npx playwright test cases chat graph images mixed labels page screenshots --grep-invert "long task")
step "Done"
