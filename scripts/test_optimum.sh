#!/usr/bin/env bash
# optimum-executorch's models against eager PyTorch on a software adapter:
#   scripts/test_optimum.sh [--table docs/models.md] [-k NAME]
# Installs it, and the transformers that it pins, in a temporary folder in front of .venv's packages.
# Arguments go to pytest. Expects what ./dev test-models installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
# Without dependencies: torch and executorch stay those of .venv.
.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --target "$site" \
  optimum-executorch==1.1.0 optimum==2.0.0 transformers==5.0.0rc1 huggingface_hub==1.33.0 \
  tokenizers==0.22.2 accelerate==1.15.0 httpx httpcore h11 anyio sniffio psutil idna certifi
VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-/usr/share/vulkan/icd.d/lvp_icd.json} \
  PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$site \
  .venv/bin/python -m pytest -c tests/models/pytest.ini tests/models/test_optimum.py "$@"
