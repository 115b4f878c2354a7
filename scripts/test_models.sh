#!/usr/bin/env bash
# Models of torchvision and transformers, some of a kind, and export_llm's, against eager PyTorch on a software adapter:
#   scripts/test_models.sh [--table docs/models.md] [-k NAME]
# Arguments go to pytest. Expects what ./dev test-models installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-/usr/share/vulkan/icd.d/lvp_icd.json} \
  exec .venv/bin/python -m pytest -c tests/models/pytest.ini tests/models "$@"
