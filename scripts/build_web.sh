#!/usr/bin/env bash
# Builds what browsers get: the core as wasm, the npm package in web/dist and the page in web/demo/dist.
#   scripts/build_web.sh             all of it; `./dev serve` does this and serves the page
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

scripts/build_wasm.sh --module
scripts/install_npm.sh
cd web
npm run build
npm run demo
