#!/usr/bin/env bash
# Prepares GLUE tasks from their original TSV files with the separate tools: columns -> BPE -> fairseq-preprocess.
# `fairseq-prepare-glue` makes the same bytes in one step.
#
#   examples/roberta/preprocess_GLUE_tasks.sh GLUE_DIR RTE|CoLA|...|ALL
#
# Writes TASK-bin in the current folder. RoBERTa's encoder.json, vocab.bpe and dict.txt are taken from $BPE_DIR, else from the
# current folder, else downloaded.
set -euo pipefail

if [[ $# -ne 2 ]]; then
  echo "usage: $0 GLUE_DIR TASK|ALL" >&2
  exit 2
fi
glue_dir="$1"
tasks="$2"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
workers="${WORKERS:-$(getconf _NPROCESSORS_ONLN)}"

if [[ "$tasks" == ALL ]]; then tasks="CoLA MNLI MRPC QNLI QQP RTE SST-2 STS-B WNLI"; fi
if [[ -z "${BPE_DIR:-}" ]]; then
  if [[ -f encoder.json && -f vocab.bpe && -f dict.txt ]]; then
    BPE_DIR="$PWD"
  else
    BPE_DIR="$("$python" -c 'from fairseq.data.encoders.gpt2_files import fetch_bpe; print(fetch_bpe())')"
  fi
fi

run() {
  printf '+ %s\n' "$*" >&2
  "$@"
}

for task in $tasks; do
  text="$(mktemp -d)"
  trap 'rm -rf "$text"' EXIT
  run "$python" -m fairseq_cli.prepare_glue --task "$task" --glue-dir "$glue_dir" --text-only --dest "$text/$task"
  run rm -rf "$task-bin"
  for column in input0 input1; do
    if [[ ! -f "$text/$task/train.$column" ]]; then continue; fi
    valid="" test=""
    for file in "$text/$task"/*".$column"; do
      run "$python" -m examples.roberta.multiprocessing_bpe_encoder --encoder-json "$BPE_DIR/encoder.json" \
        --vocab-bpe "$BPE_DIR/vocab.bpe" --inputs "$file" --outputs "$file.bpe" --keep-empty --workers "$workers"
      case "$(basename "$file")" in
        valid*) valid="$valid,$file.bpe" ;;
        test*) test="$test,$file.bpe" ;;
      esac
    done
    run "$python" -m fairseq_cli.preprocess --only-source --trainpref "$text/$task/train.$column.bpe" \
      --validpref "${valid#,}" ${test:+--testpref "${test#,}"} --destdir "$task-bin/$column" \
      --srcdict "$BPE_DIR/dict.txt" --workers "$workers"
  done
  if [[ "$task" == STS-B ]]; then
    run mkdir -p "$task-bin/label"
    run cp "$text/$task/train.label" "$text/$task/valid.label" "$task-bin/label/"
  else
    valid="$(printf ',%s' "$text/$task"/valid*.label)"
    run "$python" -m fairseq_cli.preprocess --only-source --trainpref "$text/$task/train.label" \
      --validpref "${valid#,}" --destdir "$task-bin/label" --workers "$workers"
  fi
  rm -rf "$text"
done
