#!/usr/bin/env bash
# The ExecuTorch wheel's own suites over this runtime on a software adapter, or a share of their cases:
#   scripts/test_suites.sh         all, an hour or more
#   scripts/test_suites.sh 0.1     a tenth, always the same one
# Further arguments go to pytest. Expects what ./dev test installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export ETWEBGPU_SUITE_SHARE=${1:-1}
shift || true
VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-/usr/share/vulkan/icd.d/lvp_icd.json} \
  .venv/bin/python -m pytest -c tests/suites/pytest.ini --pyargs tests/suites executorch.backends.test.suite.operators "$@"
