"""fairseq-import-hf: a Hugging Face RoBERTa, XLM-R or BERT-type encoder -> model.pt, dict.txt and tokenizer files.

fairseq-import-hf all-MiniLM-L6-v2 --dest minilm
"""

import argparse
from pathlib import Path

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-import-hf",
        description="Turn a Hugging Face RoBERTa, XLM-R or BERT-type encoder into a fairseq checkpoint.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", metavar="DIR_OR_ID", help="folder with config.json, weights and tokenizer, or model id"
    )
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to write")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.interop import hf_files, hf_import

    settings = hf_import.import_encoder(hf_files.locate(args.model), args.dest)
    print(f"wrote {args.dest}/model.pt; prepare data with --bpe-dir {args.dest} and fine-tune with:")
    print(f"checkpoint.restore_file={args.dest}/model.pt {' '.join(settings)}")


if __name__ == "__main__":
    cli_main()
