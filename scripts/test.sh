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
# A worker for each core, at most four; the tests of a file share fixtures, so they stay together.
workers="$("$python" -c 'import os; print(min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()))')"
run "$python" -m pytest -n "$workers" --dist loadfile --doctest-modules --skip-limits tests/skip_limits.txt fairseq tests "$@"
