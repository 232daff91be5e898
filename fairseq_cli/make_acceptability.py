"""fairseq-make-acceptability: make the embedded data set of grammatical and ungrammatical sentences.

    fairseq-make-acceptability --dest acceptability-bin

The same options give the same bytes on every machine. Sentences are described in `fairseq.data.acceptability`.
"""

import argparse
from pathlib import Path

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-make-acceptability",
        description="Make a sentence_prediction data folder of grammatical and ungrammatical English sentences.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dest", required=True, metavar="DIR", type=Path, help="where to write, also used as task.data"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed gives other sentences")
    parser.add_argument("--train", type=int, default=8000, metavar="N", help="number of training sentences, even")
    parser.add_argument("--valid", type=int, default=1000, metavar="N", help="number of validation sentences, even")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier call in --dest")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.data.acceptability.binarize import WRITTEN, write_acceptability
    from fairseq.output_files import check_folder

    check_folder(args.dest, WRITTEN, args.overwrite)
    scores = write_acceptability(args.dest, seed=args.seed, train=args.train, valid=args.valid)
    print(f"{args.train} training and {args.valid} validation sentences in {args.dest}")
    print(f"baselines: majority class {scores['majority']:.1f} %, bag of words {scores['bag_of_words']:.1f} %")


if __name__ == "__main__":
    cli_main()
