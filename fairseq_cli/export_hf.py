"""fairseq-export-hf: a RoBERTa checkpoint -> a folder that `transformers` loads.

fairseq-export-hf roberta.base --dest roberta-hf
fairseq-export-hf rte-run/checkpoint_best.pt --bpe-dir gpt2_bpe --dest rte-hf
"""

import argparse
import sys
from pathlib import Path

from fairseq_cli.entry import command

TOKENIZERS = ("encoder.json", "tokenizer.json", "vocab.txt")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-export-hf",
        description="Turn a RoBERTa checkpoint into a Hugging Face folder: config.json, weights, tokenizer.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint file, or a folder with model.pt")
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--bpe-dir", type=Path, metavar="DIR", help="folder with the tokenizer's files (default: the checkpoint's)"
    )
    parser.add_argument("--head", metavar="NAME", help="classification head to take along, where there are several")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.interop import hf_export

    path = args.checkpoint / "model.pt" if args.checkpoint.is_dir() else args.checkpoint
    bpe_dir = args.bpe_dir
    if bpe_dir is None and any((path.parent / name).exists() for name in TOKENIZERS):
        bpe_dir = path.parent
    kind = hf_export.export_encoder(path, args.dest, bpe_dir, args.head)
    if bpe_dir is None:
        print(f"no tokenizer files beside {path}: {args.dest} gets none (--bpe-dir names a folder)", file=sys.stderr)
    print(f"wrote {args.dest}: transformers.{kind}.from_pretrained({str(args.dest)!r})")


if __name__ == "__main__":
    cli_main()
