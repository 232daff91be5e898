"""fairseq-prepare-text: a table of one's own texts -> a data folder to train, evaluate and predict with.

fairseq-prepare-text reviews.csv --text review --label verdict --dest reviews-bin
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_cli.entry import command

if TYPE_CHECKING:
    from fairseq.own_data.prepare import Prepared


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-prepare-text",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Turn a table of texts with labels (CSV, TSV, JSON lines or Parquet, also .gz)
into a data folder for text classification or regression. The folder holds
ids of subwords, names of the classes, the tokenizer and a config; checkpoints
that are trained on it know names and tokenizer.""",
        epilog="""\
examples:
  fairseq-prepare-text reviews.csv --text review --label verdict \\
      --dest reviews-bin
  fairseq-prepare-text train.jsonl --valid dev.jsonl --text question,answer \\
      --label label --dest qa-bin --wordpiece --vocab-size 16000
  fairseq-prepare-text sts.tsv --text sentence1,sentence2 --label score \\
      --regression --dest sts-bin --bpe-dir minilm    # of fairseq-import-hf

and then, as the command's last lines say:
  fairseq-hydra-train --config-dir reviews-bin --config-name train \\
      task.data=reviews-bin checkpoint.save_dir=reviews-run
  fairseq-quantize-checkpoint reviews-run/checkpoint_best.pt --out int8.pt \\
      --quantization int8 --data reviews-bin
  fairseq-predict int8.pt < lines.txt > predictions.jsonl

exit status: 0 done, 1 a table that cannot be used, 2 options that cannot""",
        allow_abbrev=False,
    )
    parser.add_argument("train", type=Path, metavar="TABLE", help="training examples; a header names the columns")
    parser.add_argument("--text", required=True, metavar="COL[,COL]", help="column of the text, or two of a pair")
    parser.add_argument("--label", required=True, metavar="COLUMN", help="column of the classes or numbers")
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="data folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a data folder that is there already")
    parser.add_argument("--regression", action="store_true", help="labels are numbers to predict, not classes")

    splits = parser.add_argument_group("splits")
    splits.add_argument("--valid", type=Path, metavar="TABLE", help="development examples (default: held out)")
    splits.add_argument("--test", type=Path, metavar="TABLE", help="test examples, with labels or without")
    splits.add_argument(
        "--valid-share", type=float, default=0.1, metavar="X", help="share of each class to hold out (default: 0.1)"
    )
    splits.add_argument("--seed", type=int, default=1, metavar="N", help="another seed holds out others (default: 1)")
    splits.add_argument("--train-examples", type=_count, metavar="N", help="use the first N rows of TABLE only")
    splits.add_argument("--valid-examples", type=_count, metavar="N", help="use the first N rows of --valid only")

    reading = parser.add_argument_group("reading tables")
    reading.add_argument("--delimiter", metavar="CHAR", help="between fields (default: comma in .csv, tab in .tsv)")
    quotes = reading.add_mutually_exclusive_group()
    quotes.add_argument("--quotes", action="store_true", default=None, help="quotes enclose fields (default in .csv)")
    quotes.add_argument(
        "--no-quotes", action="store_false", dest="quotes", help="a quote is a character (default in .tsv)"
    )
    reading.add_argument("--skip-unlabelled", action="store_true", help="leave out rows without a label")

    pieces = parser.add_argument_group("subwords (default: byte-level BPE, learned from the training texts)")
    pieces.add_argument(
        "--bpe-dir", type=Path, metavar="DIR", help="take those of an imported model, or of a tokenizer's files"
    )
    pieces.add_argument("--wordpiece", action="store_true", help="learn WordPiece, as BERT has")
    pieces.add_argument("--cased", action="store_true", help="WordPiece that keeps upper case and accents")
    pieces.add_argument("--vocab-size", type=_count, metavar="N", help="learn so many pieces at most (default: 8000)")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "positive number"  # what argparse calls it


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.errors import ConfigError
    from fairseq.own_data.prepare import SubwordOptions, TableOptions, prepare

    learned = {"--wordpiece": args.wordpiece, "--cased": args.cased, "--vocab-size": args.vocab_size}
    if args.bpe_dir is not None and (given := [name for name, value in learned.items() if value]):
        raise ConfigError(f"{given[0]} is for subwords that are learned, --bpe-dir takes those of files; give one")
    if args.cased and not args.wordpiece:
        raise ConfigError("--cased is for --wordpiece; byte-level BPE keeps every character anyway")
    kind = "wordpiece" if args.wordpiece else "bpe"
    prepared = prepare(
        args.train,
        args.dest,
        TableOptions(
            [name.strip() for name in args.text.split(",")],
            args.label.strip(),
            args.regression,
            args.skip_unlabelled,
            args.delimiter,
            args.quotes,
        ),
        SubwordOptions(args.bpe_dir, kind, args.vocab_size or 8000, args.cased),
        valid=args.valid,
        test=args.test,
        valid_share=args.valid_share,
        seed=args.seed,
        train_examples=args.train_examples,
        valid_examples=args.valid_examples,
        overwrite=args.overwrite,
    )
    for note in notes(prepared, args.label):
        print(note, file=sys.stderr)
    print(describe(prepared, args.dest))


def notes(prepared: "Prepared", label: str) -> list[str]:
    """What a user should know about the rows."""
    lines = []
    if prepared.unlabelled:
        lines.append(f"note: {prepared.unlabelled} rows without a {label!r} were left out")
    if prepared.empty:
        lines.append(f"note: {prepared.empty} examples have no text; they are kept")
    if prepared.cut:
        total = sum(prepared.counts.values())
        lines.append(
            f"note: {prepared.cut} of {total} examples have more than {prepared.most_tokens} tokens, and their end is "
            "cut; task.max_positions of train.yaml says where"
        )
    if prepared.seen:
        lines.append(f"note: {prepared.seen} examples of the development set have a text that is trained on, too")
    for name, counts in prepared.classes.items():
        if not counts.get("valid", 1):
            lines.append(f"note: the development set has no example of class {name!r}")
    return lines[:10]


def describe(prepared: "Prepared", dest: Path) -> str:
    """What is in the folder, and the command that trains on it."""
    counts = ", ".join(f"{split} {count}" for split, count in prepared.counts.items())
    lines = [f"{counts} examples, {prepared.pieces} pieces in {dest}"]
    width = max((len(name) for name in prepared.classes), default=0)
    width = min(width, 40)
    for name, of in list(prepared.classes.items())[:20]:
        shown = name if len(name) <= width else name[: width - 3] + "..."
        lines.append(f"  {shown:{width}}  " + "  ".join(f"{split} {count}" for split, count in of.items()))
    if len(prepared.classes) > 20:
        lines.append(f"  and {len(prepared.classes) - 20} classes more")
    run = dest.parent / f"{dest.name.removesuffix('-bin')}-run"
    command = [
        *("fairseq-hydra-train", "--config-dir", str(dest), "--config-name", "train"),
        *(f"task.data={dest}", f"checkpoint.save_dir={run}"),
    ]
    return "\n".join([*lines, "train on it with:", "  " + " ".join(map(shlex.quote, command))])


if __name__ == "__main__":
    cli_main()
