#!/usr/bin/env bash
# What tests of pages need beside Python: axe-core, from npm into .venv/browser. Chromium is the system's (Debian: apt install
# chromium); only a machine of CI that runs this as root gets it here. Tests are skipped where one of them is missing.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
axe=4.14.1
folder="$root/.venv/browser"

if [[ "$(cat "$folder/version" 2> /dev/null)" != "$axe" ]] && command -v npm > /dev/null; then
  mkdir -p "$folder"
  (set -x; timeout 60 npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "axe-core@$axe")
  printf '%s' "$axe" > "$folder/version"
fi
if ! command -v chromium chromium-browser google-chrome > /dev/null && [[ -n "${CI:-}" && "$(id -u)" == 0 ]]; then
  (set -x; timeout 240 apt-get install -y -qq --no-install-recommends chromium)
fi
