#!/usr/bin/env bash
# Sets up .venv (reused where it fits), then lint, format, types, and all tests with the doctests and the README's commands.
#
#   ./scripts/test.sh [PYTEST ARGUMENT ...]     e.g. -k preprocess
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev

cd "$root"
run "$python" -m ruff check .
run "$python" -m ruff format --check .
run "$python" -m mypy fairseq fairseq_cli
run "$python" -m pytest --doctest-modules --skip-limits tests/skip_limits.txt fairseq tests "$@"
