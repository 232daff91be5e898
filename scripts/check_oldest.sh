#!/usr/bin/env bash
# Checks the lower bounds of the dependencies: installs the oldest allowed version of each into an environment of its own, and
# runs commands and a part of the tests with them. torch is fetched anew, some gigabytes where the index has no CPU build.
#
#   scripts/check_oldest.sh [PYTEST ARGUMENT ...]
#
# VENV    where the environment lies (default: .venv-oldest in the checkout)     PYTHON  to make it with (default: python3.11)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${VENV:-$root/.venv-oldest}"
python="$venv/bin/python"
unset PYTHONPATH

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
run "${PYTHON:-python3.11}" "$root/scripts/oldest_versions.py" > "$work/oldest.txt"
cat "$work/oldest.txt"
run "${PYTHON:-python3.11}" -m venv "$venv"
run "$python" -m pip install -q --disable-pip-version-check -c "$work/oldest.txt" "$root" pytest hypothesis
cd "$work"
run "$venv/bin/fairseq-doctor"
run "$venv/bin/fairseq-make-acceptability" --dest data --train 60 --valid 30
run "$venv/bin/fairseq-hydra-train" --config-dir "$root/examples/acceptability/config" --config-name acceptability \
  task.data=data checkpoint.save_dir=run optimization.max_update=2 quantization=int8 > train.txt
run "$venv/bin/fairseq-quantize-checkpoint" run/checkpoint_best.pt --out int8.pt
run "$venv/bin/fairseq-validate" data --path int8.pt > validate.txt
cd "$root"
if [[ $# -eq 0 ]]; then
  set -- tests/own_data tests/quantization/formats tests/checkpoint tests/data tests/dataclass
  # before torch 2.13 its own cast to e4m3 makes NaN of what is too large, and its compiler does not take the kernel of blocks
  set -- "$@" --deselect tests/quantization/formats/test_blocks.py::test_compiled_kernel -k "not test_torch_casts_alike"
fi
run "$python" -m pytest -q -p no:cacheprovider "$@"
echo "oldest versions: ok"
