#!/usr/bin/env bash
# Makes the project's environment, or reuses it where it fits. Source it: `source scripts/setup.sh EXTRAS`, e.g. `plot` or `dev`.
#
#   $python   afterwards the interpreter to use
#
# VENV            where the environment lies (default: .venv in the checkout)
# PYTHON          the interpreter to make it with (default: python3), 3.11 or newer
# FAIRSEQ_PYTHON  use this interpreter as it is and install nothing
#
# Scripts that use one environment at the same time never change it under each other: one that has to install waits until the
# others have ended.
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

# Locks the file of a descriptor, for as long as this script, or what it starts, has it open: `hold 9 shared` or `hold 9 exclusive`,
# and what to say while others have it. The lock is Python's, since macOS has no flock command.
hold() {
  "$base" - "$1" "$2" "waiting: $venv $3 (VENV=FOLDER makes an environment of its own)" <<'PYTHON'
import fcntl, sys

descriptor, how, waiting = sys.argv[1:]
flag = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}[how]
try:
    fcntl.flock(int(descriptor), flag | fcntl.LOCK_NB)
except BlockingIOError:
    print(waiting, file=sys.stderr, flush=True)
    fcntl.flock(int(descriptor), flag)
except OSError as error:
    print(f"warning: no lock ({error}), so start no second script that uses the same environment", file=sys.stderr)
PYTHON
}

# Whether the environment has what was asked for; `dev` has everything that `plot` has.
fits() {
  local name
  for name in "$1" dev; do
    if [[ -x "$python" && -f "$venv/.fairseq-$name" && "$(cat "$venv/.fairseq-$name")" == "$wanted" ]]; then return 0; fi
  done
  return 1
}

install() {
  run rm -f "$venv"/.fairseq-*  # from here on it is not what these say
  run "$base" -m venv "$venv"
  if compgen -G "$venv/lib/python*/site-packages/fairseq-*.dist-info" > /dev/null; then
    run "$python" -m pip uninstall -q -y fairseq  # the name of this project's distribution until it got its own
  fi
  run "$python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" -e "$root[$1]"
  printf '%s' "$wanted" > "$venv/.fairseq-$1"
}

setup_environment() {
  local extras="$1" venv="${VENV:-$root/.venv}" base="${PYTHON:-python3}" wanted
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
  wanted="$(cat "$root/constraints.txt" "$root/pyproject.toml" | cksum) $root $("$base" -V)"
  mkdir -p "$venv"
  exec 8>> "$venv/.lock-install" 9>> "$venv/.lock-use"
  hold 9 shared "is being installed by another script"
  if ! fits "$extras"; then
    exec 9>&- 9>> "$venv/.lock-use"  # released, so that another script that waits to install can
    hold 8 exclusive "is being installed by another script"
    if ! fits "$extras"; then
      hold 9 exclusive "must be brought up to date, and another script uses it"
      install "$extras"
    fi
    hold 9 shared "is being installed by another script"
  fi
  exec 8>&-
}

setup_environment "${1:?name the extras to install}"
