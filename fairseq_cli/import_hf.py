"""fairseq-import-hf: a Hugging Face RoBERTa, XLM-R or BERT-type encoder -> model.pt, dict.txt and tokenizer files.

fairseq-import-hf all-MiniLM-L6-v2 --dest minilm
"""

import argparse
import shlex
import sys
from pathlib import Path

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-import-hf",
        description="Turn a Hugging Face RoBERTa, XLM-R or BERT-type encoder into a fairseq checkpoint.",
        epilog="Outputs and ids of what was written are compared with the folder's before it is kept.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", metavar="DIR_OR_ID", help="folder with config.json, weights and tokenizer, or model id"
    )
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier import in --dest")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.interop import hf_files, hf_import
    from fairseq.native.announce import waiting

    folder = hf_files.locate(args.model)
    with waiting("importing, and comparing what was written"):
        imported = hf_import.import_encoder(folder, args.dest, args.overwrite)
    if imported.left_out:
        print(f"left out, our model has no place for it: {', '.join(imported.left_out)}", file=sys.stderr)
    print(imported.comparison.summary())
    print(f"wrote {args.dest}/model.pt; prepare data with --bpe-dir {args.dest} and fine-tune with:")
    # as words of a shell: a path may have spaces
    print(" ".join(map(shlex.quote, (f"checkpoint.restore_file={args.dest}/model.pt", *imported.settings))))


if __name__ == "__main__":
    cli_main()
