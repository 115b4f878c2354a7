#!/usr/bin/env bash
# Brings web/node_modules to what package-lock.json asks for, if that has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../web"
export PATH=$PWD/../.venv/bin:$PATH

cmp -s package-lock.json node_modules/.installed && exit
# Not `npm ci`, which fails where a registry lacks an optional package for another system.
npm install --no-save --no-audit --no-fund
cp package-lock.json node_modules/.installed
