#!/usr/bin/env bash
# Formatting, linters and types. `scripts/lint.sh --fix` formats in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

mapfile -t cpp < <(git ls-files '*.cpp' '*.h' '*.cc')
if [ "${1:-}" = --fix ]; then
  clang-format -i "${cpp[@]}"
  ruff format python tests benchmarks scripts examples web/e2e
  ruff check --fix python tests benchmarks scripts examples web/e2e
  (cd web && npx biome check --write .)
  exit
fi
clang-format --dry-run --Werror "${cpp[@]}"
ruff format --check python tests benchmarks scripts examples web/e2e
ruff check python tests benchmarks scripts examples web/e2e
python scripts/check_rooms.py
python scripts/check_tests.py
mypy python/executorch_webgpu benchmarks/*.py examples/*.py
(cd web && npx biome check --error-on-warnings . && npx tsc --noEmit)
echo "lint: clean"
