#!/usr/bin/env bash
# Prepares 4,000 reviews of IMDb to train on and 2,000 to evaluate on, and trains a 2-layer, 512-wide, pre-norm model.
#
#   examples/own_data/imdb.sh TRAIN TEST [KEY=VALUE ...]
#
# TRAIN, TEST  tables with the columns text and label, such as train.tsv.gz and test.tsv.gz, in any order of rows
# KEY=VALUE    any key of the config, such as quantization=int8 common.seed=2
# OUT          folder for data and run (default imdb-runs)    NAME  of the run (default run)
set -euo pipefail

if [[ $# -lt 2 ]]; then
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
train="$1" test="$2"
shift 2
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
out="${OUT:-imdb-runs}" name="${NAME:-run}"

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

if [[ ! -e "$out/imdb-bin" ]]; then
  run "$python" -m fairseq_cli.prepare_text "$train" --valid "$test" --text text --label label --dest "$out/imdb-bin" \
    --train-examples 4000 --valid-examples 2000 --vocab-size 8000
fi
run "$python" -m fairseq_cli.hydra_train --config-dir "$root/examples/own_data/config" --config-name imdb \
  task.data="$out/imdb-bin" checkpoint.save_dir="$out/$name" "$@"
