#!/usr/bin/env bash
# Checks that the project installs from a clean checkout and from a built wheel: the commands run from another folder, and the
# YAML files are packaged. Dependencies come from the environment that runs it, so nothing large is installed again.
#
#   scripts/check_package.sh
#
# FAIRSEQ_PYTHON  the interpreter that has the dependencies (default: python of .venv)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${FAIRSEQ_PYTHON:-${VENV:-$root/.venv}/bin/python}"
unset PYTHONPATH

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# what git knows, as it is in the working tree
mkdir "$work/checkout"
git -C "$root" ls-files -z | (cd "$root" && xargs -0 -I{} sh -c 'test ! -e "$1" || printf "%s\0" "$1"' _ {}) \
  | tar -C "$root" --null -T - -cf - | tar -C "$work/checkout" -xf -
dependencies="$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"

check() {
  local how="$1" what="$2" venv="$work/env-$1"
  echo "== $how =="
  run "$python" -m venv --without-pip "$venv"
  local site
  site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
  # the new environment's own packages come first, then the dependencies
  echo "$dependencies" > "$site/dependencies.pth"
  run "$python" -m pip --python "$venv/bin/python" install -q --disable-pip-version-check --no-deps --no-build-isolation \
    --ignore-installed "$what"
  cd "$work"
  "$venv/bin/python" - "$site" "$work/checkout" <<'PYTHON'
import sys
from pathlib import Path

import fairseq

package, source = Path(fairseq.__file__).parent, Path(sys.argv[2], "fairseq")
assert package.is_relative_to(sys.argv[1]), f"fairseq was imported from {package}"
wanted = {path.relative_to(source) for pattern in ("*.py", "*.yaml", "*.cpp", "py.typed") for path in source.rglob(pattern)}
missing = sorted(str(name) for name in wanted if not (package / name).is_file())
assert not missing, f"not packaged: {missing}"
PYTHON
  for command in "$venv"/bin/fairseq-*; do
    run "$command" --help > "$work/help.txt"
    test -s "$work/help.txt"
  done
  run "$venv/bin/fairseq-make-acceptability" --dest "$work/$how-data" --train 60 --valid 30
  run "$venv/bin/fairseq-hydra-train" --config-dir "$root/examples/acceptability/config" --config-name acceptability \
    "task.data=$work/$how-data" "checkpoint.save_dir=$work/$how-run" optimization.max_update=2 > "$work/train.txt"
  test -s "$work/$how-run/checkpoint_best.pt"
}

check checkout "$work/checkout"
run "$python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$work/wheels" "$work/checkout"
check wheel "$(ls "$work"/wheels/*.whl)"
echo "package: ok"
