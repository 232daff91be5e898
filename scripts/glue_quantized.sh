#!/usr/bin/env bash
# Fine-tunes on a GLUE task at the precision of a preset. The scripts glue_PRESET.sh call this one:
#
#   ./scripts/glue_int8.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
#
#   TASK        a config of examples/roberta/config/finetuning: cola mnli mrpc qnli qqp rte sst_2 sts_b wnli
#   DATA        the task's folder, from fairseq-prepare-glue
#   CHECKPOINT  pretrained weights, such as roberta.base/model.pt, or `none` to start from random ones
#   SEED        of initialisation, data order, dropout and rounding
#   full        everything trains (default); frozen: the classification head only
#   KEY=VALUE   any key of the config, such as optimization.max_epoch=3 or model.encoder_layers=6
#
# OUT  the run's folder (default: outputs/TASK-PRESET-full-seedSEED in the current folder); a run found there is resumed
set -euo pipefail
preset="$1"
shift
if (($# < 4)); then
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
task="$1" data="$2" checkpoint="$3" seed="$4"
shift 4
backbone=full
if [[ "${1:-}" == full || "${1:-}" == frozen ]]; then
  backbone="$1"
  shift
fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${FAIRSEQ_PYTHON:-}"
if [[ -z "$python" ]]; then
  source "$root/scripts/setup.sh" plot
fi

out="${OUT:-$PWD/outputs/$task-$preset-$backbone-seed$seed}"
words=("task.data=$data" "common.seed=$seed" "quantization=$preset" "quantization.seed=$seed" "checkpoint.save_dir=$out")
if [[ "$backbone" == frozen ]]; then
  words+=('optimization.trainable=["classification_heads.*"]')
fi
if [[ -f "$out/checkpoint_last.pt" ]]; then
  # the configs start a new run from a checkpoint's weights; one that was stopped goes on
  words+=(checkpoint.reset_optimizer=false checkpoint.reset_dataloader=false checkpoint.reset_meters=false)
elif [[ "$checkpoint" != none ]]; then
  words+=("checkpoint.restore_file=$checkpoint")
fi
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m fairseq_cli.hydra_train \
  --config-dir "$root/examples/roberta/config/finetuning" --config-name "$task" "${words[@]}" "$@"
