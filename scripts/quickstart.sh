#!/usr/bin/env bash
# From a fresh checkout to a trained model: makes .venv, installs, makes the embedded data set, trains a 2-layer RoBERTa from
# scratch, validates it, and prints where the checkpoint lies and what it scored beside two baselines. A few minutes on 2 cores.
#
#   ./scripts/quickstart.sh [KEY=VALUE ...]     e.g. optimization.max_update=500; any key of the config
#
# OUT  where data and checkpoints go (default: outputs/quickstart in the checkout)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" plot

out="${OUT:-$root/outputs/quickstart}"
data="$out/acceptability-bin"
run mkdir -p "$out"
run rm -rf "$out/checkpoints"  # of an earlier quickstart, which would otherwise be resumed
fairseq make-acceptability --dest "$data" --overwrite
fairseq hydra-train --config-dir "$root/examples/acceptability/config" --config-name acceptability \
  "task.data=$data" "checkpoint.save_dir=$out/checkpoints" "$@"
fairseq validate "$data" --task sentence_prediction --path "$out/checkpoints/checkpoint_best.pt" --batch-size 100 \
  --log-format json | tee "$out/validate.log"
fairseq plot "$out/checkpoints" --out "$out/curves.png"
fairseq report "$out/checkpoints" --out "$out/report.html" --title quickstart

"$python" - "$out" <<'PYTHON'
import json, re, sys
from pathlib import Path

out = Path(sys.argv[1])
baselines = json.loads((out / "acceptability-bin" / "baselines.json").read_text())
accuracy = re.findall(r'"valid_accuracy": "?([0-9.]+)', (out / "validate.log").read_text())[-1]
print(f"""
checkpoint   {out / "checkpoints" / "checkpoint_best.pt"}
curves       {out / "curves.png"}
report       {out / "report.html"}
accuracy     {float(accuracy):5.1f} %   on 1000 sentences with words that training never saw
baselines    {baselines["majority"]:5.1f} %   majority class
             {baselines["bag_of_words"]:5.1f} %   bag of words (logistic regression)""")
PYTHON
