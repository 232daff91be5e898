"""A forward pass of evaluation: ours in fp32 and in integers, beside Hugging Face transformers in fp32, bf16 autocast
and with torch's dynamic int8 quantization, and beside fairseq 0.12.

    python benchmarks/inference.py --transformers PYTHON --oracle PYTHON --json inference.json

RoBERTa-base with a classification head, 8 sentences of 64 random tokens. Ours keeps the codes of its weights from the
first forward on. Sides are processes that take turns (`worker.py`). Bar: int8 at most 0.35x of transformers fp32.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
import turns

SIDES = {
    "transformers fp32": ("transformers", "fp32"),
    "transformers bf16": ("transformers", "bf16"),
    "transformers dynamic int8": ("transformers", "dynamic int8"),
    "fairseq 0.12 fp32": ("fairseq", "fp32"),
    "ours fp32": ("ours", "fp32"),
    "ours int8": ("ours", "int8"),
    "ours int4": ("ours", "int4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser, repeats=15)
    turns.add_arguments(parser)
    parser.add_argument("--model", choices=("roberta_base", "minilm", "tiny"), default="roberta_base")
    parser.add_argument("--batch", type=int, nargs=2, default=[8, 64], metavar=("B", "T"), help="sentences, tokens")
    args = parser.parse_args()
    common = {"model": args.model, "batch": args.batch, "mode": "infer", "threads": args.threads}
    turns.run(args, parser, SIDES, common, f"{args.model}, {args.batch[0]} x {args.batch[1]} tokens, forward only")


if __name__ == "__main__":
    main()
