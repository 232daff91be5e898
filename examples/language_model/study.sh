#!/usr/bin/env bash
# Trains the language model of config/wikitext-2.yaml in full precision, at static 8 bits and with CPT 4-8, once per seed,
# evaluates each on valid and test, and prints a table.
#
#   examples/language_model/study.sh TEXT [KEY=VALUE ...]      TEXT: a folder with train.txt, valid.txt and test.txt
#
# SEEDS   e.g. "1 2 3" (default)                         OUT     folder for all it writes (default wikitext-2-runs)
# RUNS    some of "fp32 static8 cpt48" (default: all)    WINDOW  words of context in evaluation (default 64)
#
# A run that is found in OUT goes on where it was stopped; one that is complete is only evaluated.
set -euo pipefail

if [[ $# -lt 1 ]]; then
  sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
text="$1"
shift
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
out="${OUT:-wikitext-2-runs}" window="${WINDOW:-64}"

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

declare -A precision=(
  [fp32]=""
  [static8]="quantization=cpt_4_8 quantization.schedule.min_bits=8"
  [cpt48]="quantization=cpt_4_8"
)
mkdir -p "$out"
if [[ ! -f "$out/bin/dict.txt" ]]; then
  run "$python" -m fairseq_cli.preprocess --only-source --trainpref "$text/train.txt" --validpref "$text/valid.txt" \
    --testpref "$text/test.txt" --destdir "$out/bin" --workers 2 >"$out/preprocess.log"
fi
table="$out/table.txt"
printf '%-8s %4s %10s %10s %10s %8s\n' run seed valid-ppl test-ppl test-ppl+c seconds | tee "$table"
for seed in ${SEEDS:-1 2 3}; do
  for name in ${RUNS:-fp32 static8 cpt48}; do
    folder="$out/$name-seed$seed"
    start="$SECONDS"
    read -ra settings <<<"${precision[$name]}"
    run "$python" -m fairseq_cli.hydra_train --config-dir "$root/examples/language_model/config" \
      --config-name wikitext-2 "task.data=$out/bin" "checkpoint.save_dir=$folder" "common.seed=$seed" \
      "quantization.seed=$seed" "${settings[@]}" "$@" >>"$folder.log" 2>&1
    seconds="$((SECONDS - start))"
    perplexity() {
      run "$python" -m fairseq_cli.eval_lm "$out/bin" --path "$folder/checkpoint_best.pt" --tokens-per-sample 128 \
        --max-tokens 4096 --no-progress-bar "$@" | tee -a "$folder.log" | sed -n 's/.*Perplexity: //p'
    }
    printf '%-8s %4s %10s %10s %10s %8s\n' "$name" "$seed" "$(perplexity --gen-subset valid)" \
      "$(perplexity --gen-subset test)" "$(perplexity --gen-subset test --context-window "$window")" "$seconds" |
      tee -a "$table"
  done
done
