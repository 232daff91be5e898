#!/usr/bin/env bash
# Makes the project's environment, or reuses it where it fits. Source it: `source scripts/setup.sh EXTRAS`, e.g. `plot` or `dev`.
#
#   $python   afterwards the interpreter to use
#
# VENV            where the environment lies (default: .venv in the checkout)
# PYTHON          the interpreter to make it with (default: python3), 3.11 or newer
# FAIRSEQ_PYTHON  use this interpreter as it is and install nothing
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Threads that wait for each other sleep instead of spinning: where other programs share the cores, an update of a small model
# with two spinning threads takes twenty times as long.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

# Prints a command, then runs it.
run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

# Runs one of the project's commands: `fairseq validate ...` is fairseq-validate.
fairseq() {
  local command="$1"
  shift
  printf '+ fairseq-%s %s\n' "$command" "$*" >&2
  "$python" -m "fairseq_cli.${command//-/_}" "$@"
}

setup_environment() {
  local extras="$1" venv="${VENV:-$root/.venv}" base="${PYTHON:-python3}" stamp wanted
  if [[ -n "${FAIRSEQ_PYTHON:-}" ]]; then
    python="$FAIRSEQ_PYTHON"
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    return
  fi
  if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $base is $("$base" -V 2>&1); Python 3.11 or newer is needed (set PYTHON)" >&2
    exit 1
  fi
  python="$venv/bin/python"
  stamp="$venv/.fairseq-$extras"
  # `dev` has everything that `plot` has
  if [[ "$extras" == plot && -f "$venv/.fairseq-dev" ]]; then stamp="$venv/.fairseq-dev"; fi
  wanted="$(cat "$root/constraints.txt" "$root/setup.py" "$root/pyproject.toml" | cksum) $root $("$base" -V)"
  if [[ -x "$python" && -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
    return
  fi
  run "$base" -m venv "$venv"
  run "$python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" -e "$root[$extras]"
  printf '%s' "$wanted" > "$venv/.fairseq-$extras"
}

setup_environment "${1:?name the extras to install}"
