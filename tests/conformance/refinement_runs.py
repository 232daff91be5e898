"""Runs of models that refine whole sentences, which fairseq 0.12 and ours must print alike, at dropout 0, and what they
then generate.

As multilingual_cases.py, with the pairs of translation_cases.py; used by make_refinement_fixtures.py (under fairseq
0.12) and by test_refinement.py.
"""

import re
from pathlib import Path

from multilingual_cases import RESETS

UPDATES = 16
# batches of at most 16 pairs: torch sorts more of them by length in an order that depends on the processor
SIZES = f"""
    --task translation_lev -s de -t en --criterion nat_loss --label-smoothing 0.1
    --encoder-embed-dim 16 --encoder-ffn-embed-dim 24 --encoder-layers 1 --encoder-attention-heads 4
    --decoder-embed-dim 16 --decoder-ffn-embed-dim 24 --decoder-layers 2 --decoder-attention-heads 4
    --dropout 0 --attention-dropout 0 --activation-dropout 0 --cpu --log-format json --log-interval 1 --num-workers 0
    --required-batch-size-multiple 1 --optimizer adam --lr 0.02 --max-update {UPDATES} --seed 3 --batch-size 12
    --no-epoch-checkpoints --save-interval-updates 7 --ignore-unused-valid-subsets --upsample-primary 1
    --max-source-positions 40 --max-target-positions 40
"""
RUNS = {
    "levenshtein": f"--arch levenshtein_transformer --noise random_delete --early-exit 1,2,2 {SIZES}",
    "masks": f"--arch cmlm_transformer --noise random_mask --apply-bert-init --decoder-learned-pos {SIZES}",
    "iterative": f"""--arch iterative_nonautoregressive_transformer --noise full_mask --train-step 2
        --src-embedding-copy --pred-length-offset --length-loss-factor 0.2 {SIZES} --update-freq 2""",
}
GENERATE = "--task translation_lev --cpu --num-workers 0 --required-batch-size-multiple 1 --batch-size 5 --beam 1"
# name -> run whose model generates, flags
GENERATED = {
    "steps": ("levenshtein", "--iter-decode-max-iter 3 --print-step --iter-decode-eos-penalty 1 --remove-bpe"),
    "history": ("masks", "--iter-decode-max-iter 2 --iter-decode-force-max-iter --retain-iter-history"),
    "lengths": ("iterative", "--iter-decode-max-iter 4 --iter-decode-with-beam 3 --scoring sacrebleu"),
}


def words(name: str, data: Path, save_dir: Path, start: Path) -> list[str]:
    """The command line of a run."""
    return [str(data), *RUNS[name].split(), "--save-dir", str(save_dir), "--restore-file", str(start), *RESETS]


def generating(name: str, data: Path, model: Path) -> list[str]:
    """The words of fairseq-generate."""
    return [str(data), "--path", str(model), *GENERATE.split(), *GENERATED[name][1].split()]


def told(output: str) -> list[str]:
    """The lines that tell of sentences, and the last one."""
    return [line for line in output.splitlines() if re.match(r"[A-Z]-[\d_]+\t|Generate ", line)]
