"""A fine-tuning step, forward + backward + Adam: ours in fp32, bf16 autocast, simulated and in integers, beside fairseq
0.12, Hugging Face transformers, torchao and Brevitas.

    python benchmarks/train_step.py --oracle PYTHON --transformers PYTHON --peers PYTHON --json train_step.json
    python benchmarks/train_step.py --model minilm --sides "transformers fp32" "ours int8" ...
    python benchmarks/train_step.py --frozen

RoBERTa-base or MiniLM-L6 with a classification head, 16 sentences of 64 random tokens, dropout 0.1. Every side is a
process of its own (`worker.py`); they take turns, and ratios are between steps that lay next to each other. All sides
have the same fused Adam, although fairseq's own is slower. `first` is the very first step, kernels included. Processor
time is given as well: on a machine that others use, its ratios can be repeated.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
import turns

SIDES = {
    "fairseq 0.12 fp32": ("fairseq", "fp32"),
    "fairseq 0.12 bf16": ("fairseq", "bf16"),
    "transformers fp32": ("transformers", "fp32"),
    "transformers bf16": ("transformers", "bf16"),
    "ours fp32": ("ours", "fp32"),
    "ours bf16": ("ours", "bf16"),
    "ours simulate": ("ours", "simulate"),
    "ours auto": ("ours", "auto"),
    "ours int8": ("ours", "int8"),
    "ours int4": ("ours", "int4"),
    "torchao int8": ("torchao", "int8"),
    "torchao int8 compiled": ("torchao", "int8 compiled"),
    "brevitas int8": ("brevitas", "int8"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser, repeats=7)
    turns.add_arguments(parser)
    parser.add_argument("--model", choices=("roberta_base", "minilm", "tiny"), default="roberta_base")
    parser.add_argument("--batch", type=int, nargs=2, default=[16, 64], metavar=("B", "T"), help="sentences, tokens")
    parser.add_argument("--frozen", action="store_true", help="train the head only")
    args = parser.parse_args()
    common = {"model": args.model, "batch": args.batch, "frozen": args.frozen, "threads": args.threads}
    title = f"{args.model}, {args.batch[0]} x {args.batch[1]} tokens, {'head only' if args.frozen else 'all trained'}"
    turns.run(args, parser, SIDES, common, title)


if __name__ == "__main__":
    main()
