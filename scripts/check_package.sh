#!/usr/bin/env bash
# Checks that the project installs from a clean checkout, and from a wheel that is built from an sdist: the commands run from
# another folder, and the YAML files are packaged. Dependencies come from the environment that runs it, so nothing large is
# installed again. Other versions of Python that are on this machine get the wheel, too: they compile every file and run what
# does without torch, which has other files for each version. FULL=1 installs torch and all for them, and trains.
#
#   scripts/check_package.sh
#
# FAIRSEQ_PYTHON  the interpreter that has the dependencies (default: python of .venv)
# PYTHONS         other interpreters (default: python3.11 to 3.14 that are on PATH or in ~/.pyenv)
# FULL            1: fetch dependencies for those (the index decides on the build of torch)
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

# Interpreters of other versions than $python's, one for each version.
other_pythons() {
  local minor found
  for minor in 11 12 13 14; do
    for found in "$(command -v "python3.$minor" || true)" "$HOME"/.pyenv/versions/3."$minor".*/bin/python; do
      if [[ -n "$found" && -x "$found" && "$("$found" -c 'import sys; print(sys.version_info[1])' 2> /dev/null)" == "$minor" ]] \
        && [[ "$("$python" -c 'import sys; print(sys.version_info[1])')" != "$minor" ]]; then
        echo "$found"
        break
      fi
    done
  done
}

check_other() {
  local other="$1" wheel="$2" name venv
  name="$("$other" -c 'import sys; print("python{}.{}".format(*sys.version_info))')"
  venv="$work/env-$name"
  echo "== $name =="
  cd "$work"
  if [[ -n "${FULL:-}" ]]; then
    run "$other" -m venv "$venv"
    run "$venv/bin/python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" "$wheel"
    run "$venv/bin/fairseq-doctor"
    run "$venv/bin/fairseq-make-acceptability" --dest "$work/$name-data" --train 60 --valid 30
    run "$venv/bin/fairseq-hydra-train" --config-dir "$root/examples/acceptability/config" --config-name acceptability \
      "task.data=$work/$name-data" "checkpoint.save_dir=$work/$name-run" optimization.max_update=2 > "$work/train.txt"
    test -s "$work/$name-run/checkpoint_best.pt"
    return
  fi
  run "$other" -m venv --without-pip "$venv"
  local site
  site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
  run "$python" -m pip --python "$venv/bin/python" install -q --disable-pip-version-check --no-deps --ignore-installed "$wheel"
  run "$venv/bin/python" -W error -m compileall -q -f "$site/fairseq" "$site/fairseq_cli"
  echo "$dependencies" > "$site/dependencies.pth"  # those that are Python alone serve all versions
  run "$venv/bin/fairseq-hydra-train" --config-dir "$root/examples/acceptability/config" --config-name acceptability \
    "task.data=$work/none" --cfg job > "$work/config.txt"
  grep -q "encoder_embed_dim: 128" "$work/config.txt"
  run "$venv/bin/fairseq-prepare-text" --help > "$work/help.txt"
  if run "$venv/bin/fairseq-doctor" > "$work/doctor.txt"; then return; fi
  grep -q "^PROBLEM" "$work/doctor.txt"  # torch of another version: a line that says so
}

check checkout "$work/checkout"
cd "$work/checkout"
run "$python" -c 'from setuptools import build_meta; build_meta.build_sdist("../sdist")' > "$work/sdist.txt"
cd "$work"
run "$python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$work/wheels" "$(ls "$work"/sdist/*.tar.gz)"
wheel="$(ls "$work"/wheels/*.whl)"
check wheel "$wheel"
for other in ${PYTHONS:-$(other_pythons)}; do
  check_other "$other" "$wheel"
done
echo "package: ok"
