#!/usr/bin/env bash
# Trains a small transformer on Multi30k, German to English: in full precision, at 8 bits, and with CPT 4-8. Prints sacreBLEU.
#
#   examples/translation/multi30k.sh TEXT [FLAG OF FAIRSEQ-TRAIN ...]
#
# TEXT has train.de, train.en, val.de, val.en, test_2016_flickr.de and test_2016_flickr.en (or the same with .gz).
#
# OUT     folder for all it writes (default multi30k-runs)
# RUNS    some of "fp32 int8 cpt48" (default: all)        SEED   default 1
#
# A run that is found in OUT goes on where it was stopped; one that is complete is only evaluated.
set -euo pipefail

if [[ $# -lt 1 ]]; then
  sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
text="$1"
shift
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
out="${OUT:-multi30k-runs}" seed="${SEED:-1}" pieces="${PIECES:-6000}"

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

# Runs a command whose output goes to a file; where it fails, the last line of that is shown.
logged() {
  local log="$1"
  shift
  run "$@" >>"$log" 2>&1 || { tail -n 1 "$log" >&2; return 1; }
}

declare -A precision=(
  [fp32]=""
  [int8]="--quantization int8 --quantization-compute auto"
  [cpt48]="--quantization cpt_4_8 --quantization-compute auto"
)
mkdir -p "$out/text" "$out/pieces"
if [[ ! -f "$out/bin/dict.en.txt" ]]; then
  for split in train val test_2016_flickr; do
    for language in de en; do
      if [[ -f "$text/$split.$language" ]]; then
        cp "$text/$split.$language" "$out/text/"
      else
        gunzip -c "$text/$split.$language.gz" >"$out/text/$split.$language"
      fi
    done
  done
  run "$python" "$root/scripts/spm_train.py" "--input=$out/text/train.de,$out/text/train.en" \
    "--model_prefix=$out/joint" "--vocab_size=$pieces" --model_type=bpe --character_coverage=1.0
  for split in train val test_2016_flickr; do
    run "$python" "$root/scripts/spm_encode.py" --model "$out/joint.model" \
      --inputs "$out/text/$split.de" "$out/text/$split.en" --outputs "$out/pieces/$split.de" "$out/pieces/$split.en"
  done
  logged "$out/preprocess.log" "$python" -m fairseq_cli.preprocess -s de -t en --trainpref "$out/pieces/train" --validpref "$out/pieces/val" \
    --testpref "$out/pieces/test_2016_flickr" --joined-dictionary --destdir "$out/bin" --workers 2
fi
printf '%-6s %5s %8s %10s %10s\n' run seed updates sacreBLEU seconds | tee "$out/table-seed$seed.txt"
for name in ${RUNS:-fp32 int8 cpt48}; do
  folder="$out/$name-seed$seed"
  read -ra settings <<<"${precision[$name]}"
  start="$SECONDS"
  logged "$folder.log" "$python" -m fairseq_cli.train "$out/bin" --arch transformer --share-all-embeddings \
    --encoder-layers 3 --decoder-layers 3 --encoder-embed-dim 256 --encoder-ffn-embed-dim 512 \
    --decoder-ffn-embed-dim 512 --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0.2 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' \
    --weight-decay 0.0001 --clip-norm 1.0 --lr 0.001 --lr-scheduler cosine --warmup-updates 400 --max-update 3600 \
    --max-tokens 2048 --seed "$seed" --cpu --num-workers 0 --log-format simple --log-interval 100 \
    --no-epoch-checkpoints --save-dir "$folder" "${settings[@]}" "$@"
  seconds="$((SECONDS - start))"
  logged "$folder.generate.log" "$python" -m fairseq_cli.generate "$out/bin" --path "$folder/checkpoint_last.pt" --beam 5 --lenpen 1.0 --cpu \
    --max-tokens 2048 --remove-bpe sentencepiece --scoring sacrebleu --no-progress-bar --quiet
  updates="$(grep -o 'num_updates: [0-9]*' "$folder.log" | tail -1 | tr -dc 0-9)"
  bleu="$(sed -n 's/.* BLEU = \([0-9.]*\).*/\1/p' "$folder.generate.log" | tail -1)"
  printf '%-6s %5s %8s %10s %10s\n' "$name" "$seed" "${updates:-3600}" "$bleu" "$seconds" | tee -a "$out/table-seed$seed.txt"
done
