"""fairseq-export-hf: a RoBERTa checkpoint -> a folder that `transformers` loads.

fairseq-export-hf roberta.base --dest roberta-hf
fairseq-export-hf rte-run/checkpoint_best.pt --bpe-dir gpt2_bpe --dest rte-hf
"""

import argparse
import sys
from pathlib import Path

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-export-hf",
        description="Turn a RoBERTa checkpoint into a Hugging Face folder: config.json, weights, tokenizer.",
        epilog="Outputs and ids of what was written are compared with the checkpoint's before it is kept.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint file, or a folder with model.pt")
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier export in --dest")
    tokenizer = parser.add_mutually_exclusive_group()
    tokenizer.add_argument(
        "--bpe-dir", type=Path, metavar="DIR", help="folder with the tokenizer's files (default: the checkpoint's)"
    )
    tokenizer.add_argument("--no-tokenizer", action="store_true", help="write no tokenizer")
    parser.add_argument("--head", metavar="NAME", help="classification head to export, if there are several")
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="data folder that names the classes, if the checkpoint does not"
    )
    parser.add_argument(
        "--drop-quantizers", action="store_true", help="export a checkpoint that was trained quantized, without them"
    )
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.interop import hf_export
    from fairseq.native.announce import waiting

    path = args.checkpoint / "model.pt" if args.checkpoint.is_dir() else args.checkpoint
    with waiting("exporting, and comparing what was written"):
        export = hf_export.export_encoder(
            path,
            args.dest,
            args.bpe_dir,
            args.head,
            overwrite=args.overwrite,
            with_tokenizer=not args.no_tokenizer,
            drop_quantizers=args.drop_quantizers,
            data=args.data,
        )
    for note in export.notes():
        print(note, file=sys.stderr)
    if export.tokenizer is None and not args.no_tokenizer:
        print(f"no tokenizer files next to {path}: {args.dest} gets none (--bpe-dir names a folder)", file=sys.stderr)
    print(export.summary())


if __name__ == "__main__":
    cli_main()
