#!/usr/bin/env bash
# Fine-tunes an imported encoder on one GLUE task: imports the model, prepares the data, trains once per seed, and prints
# what the last epoch reached on the development set.
#
#   examples/roberta/minilm.sh TASK HF_DIR GLUE_DIR [KEY=VALUE ...]      TASK: SST-2, STS-B, RTE, CoLA, ...
#
# EPOCHS  passes over the training data (default 2)        LR     peak learning rate (default 1e-4)
# FIRST   use only so many of the first training examples       BATCH  sentences per update (default 32)
# SEEDS   e.g. "1 2 3" (default 1)                         OUT    folder for all it writes (default minilm-runs)
# SORTED  1: batches of neighbours in order of length, which takes less padding (default: batches at random)
#
# AdamW (betas 0.9 and 0.98, eps 1e-6, decay 0.1), 6 % warm-up, then a straight line down to 0. minilm_transformers.py
# does the same with transformers.
set -euo pipefail

if [[ $# -lt 3 ]]; then
  sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
task="$1" model="$2" glue="$3"
shift 3
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
out="${OUT:-minilm-runs}" epochs="${EPOCHS:-2}" batch="${BATCH:-32}"

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

data="$out/$task-bin"
mkdir -p "$out/glue/$task"
cp "$glue/$task/dev.tsv" "$out/glue/$task/"
header=1
if [[ "$task" == CoLA ]]; then header=0; fi
train="$out/glue/$task/train.tsv"
if [[ -n "${FIRST:-}" ]]; then
  head -n "$((FIRST + header))" "$glue/$task/train.tsv" >"$train"
else
  cp "$glue/$task/train.tsv" "$train"
fi
if [[ -n "${SORTED:-}" ]]; then
  { head -n "$header" "$train" && tail -n "+$((header + 1))" "$train" | awk '{ print length($0) "\t" $0 }' |
    LC_ALL=C sort -s -n -k 1,1 | cut -f 2-; } >"$train.sorted"
  mv "$train.sorted" "$train"
  set -- task.no_shuffle=true "$@"  # sentences batch by batch as they come; the order of the batches stays random
fi
run "$python" -m fairseq_cli.import_hf "$model" --dest "$out/model" --overwrite | tee "$out/import.log"
read -ra shape <<<"$(sed -n 's/^checkpoint.restore_file=[^ ]* //p' "$out/import.log")"
prepared="$(run "$python" -m fairseq_cli.prepare_glue --task "$task" --glue-dir "$out/glue" --bpe-dir "$out/model" \
  --dest "$data" --overwrite)"
echo "$prepared"
examples="$(sed -n 's/.*: train \([0-9]*\),.*/\1/p' <<<"$prepared")"
updates="$((epochs * ((examples + batch - 1) / batch)))"

for seed in ${SEEDS:-1}; do
  folder="$out/$task-seed$seed"
  run rm -rf "$folder"
  run "$python" -m fairseq_cli.hydra_train --config-dir "$root/examples/roberta/config/finetuning" \
    --config-name "$(tr '[:upper:]-' '[:lower:]_' <<<"$task")" task.data="$data" task.separator_token=null \
    checkpoint.restore_file="$out/model/model.pt" checkpoint.save_dir="$folder" "${shape[@]}" \
    common.seed="$seed" common.fp16=false common.log_interval=100 dataset.num_workers=0 dataset.max_tokens=null \
    dataset.batch_size="$batch" optimization.lr="[${LR:-1e-4}]" optimization.max_epoch="$epochs" \
    optimization.max_update="$updates" lr_scheduler.warmup_updates="$((updates * 6 / 100))" "$@" >"$folder.log" 2>&1 ||
    { tail -n 3 "$folder.log" >&2; exit 1; }
  printf '%s seed %s: ' "$task" "$seed"
  grep '"tag": "valid"' "$folder/history.jsonl" | tail -n 1
done
