"""fairseq-predict: lines of text -> predictions of a checkpoint, one line of JSON each, in order.

fairseq-predict reviews-run/checkpoint_best.pt < lines.txt > predictions.jsonl
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Optional

from fairseq_cli.entry import command
from fairseq_cli.user_dir import add_user_dir

WINDOW = 16  # batches that are read, sorted by length and predicted at a time


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-predict",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Predict a class or a number for each line of standard input. A line is one
text, or two with a tab between them where the model reads pairs; with --json
it is an object with the columns of the training table, a list or a string.
Tokenizer and names of classes come from the checkpoint. Weights that
fairseq-quantize-checkpoint has packed stay integers in memory.""",
        epilog="""\
examples:
  fairseq-predict reviews-run/checkpoint_best.pt < lines.txt > out.jsonl
  fairseq-predict int8.pt --json < questions.jsonl > out.jsonl
  echo "A fine film." | fairseq-predict int8.pt
    {"line": 1, "label": "pos", "score": 0.98, "scores": {"pos": 0.98, ...}}

a regression has "value" in place of label and scores. A line that cannot be
read has "error", and the others go on.

exit status: 0 done, 1 some lines had errors or the checkpoint cannot be used,
2 options that cannot""",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", help="of task sentence_prediction, quantized, packed or neither")
    parser.add_argument("--input", type=Path, metavar="FILE", help="read this file (default: standard input)")
    parser.add_argument("--json", action="store_true", help="lines are JSON: objects, lists or strings")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="texts at a time (default: 32)")
    parser.add_argument(
        "--no-sort", action="store_true", help="form batches of lines as they come (default: of like length)"
    )
    parser.add_argument(
        "--compute",
        choices=("auto", "integer", "simulate"),
        help="how a quantized model multiplies (default: auto, what is faster here; simulate: as fairseq-validate)",
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder, if the checkpoint lacks dictionaries")
    parser.add_argument("--bpe-dir", type=Path, metavar="DIR", help="tokenizer's files, if the checkpoint lacks them")
    add_user_dir(parser)
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    import torch

    from fairseq.allocator import keep_freed_memory
    from fairseq.errors import ConfigError, DataError
    from fairseq.plugins import import_user_module
    from fairseq.prediction.predictor import Predictor

    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: give 1 or more")
    keep_freed_memory()
    import_user_module(args)
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    predictor = Predictor.from_checkpoint(
        args.checkpoint, data=args.data, bpe_dir=args.bpe_dir, compute=args.compute, device=device
    )
    if args.input is None:
        total, broken, first = run(predictor, sys.stdin.fileno(), args)
    else:
        with open(args.input, "rb") as file:
            total, broken, first = run(predictor, file.fileno(), args)
    if broken:
        raise DataError(f"{broken} of {total} lines had errors, which their records tell; the first is {first}")


def run(predictor: Any, descriptor: int, args: argparse.Namespace) -> tuple[int, int, Optional[str]]:
    """Predict all lines of a file or pipe; returns how many there were, how many broken, and the first of these."""
    from fairseq.errors import DataError
    from fairseq.job_progress import JobProgress
    from fairseq.prediction.lines import LineParser, count_lines, waiting_lines

    parser = LineParser(predictor.columns, args.json)
    number = broken = 0
    first = None
    with JobProgress("predicting", count_lines(descriptor), "line") as progress:
        for lines in waiting_lines(descriptor, WINDOW * args.batch_size):
            records: list[dict[str, Any]] = [{} for _ in lines]
            examples = {}
            for index, line in enumerate(lines):
                try:
                    examples[index] = parser.texts(line)
                except DataError as error:
                    records[index] = {"error": str(error)}
            found = predictor.predict(list(examples.values()), args.batch_size, by_length=not args.no_sort)
            for index, record in zip(examples, found, strict=True):
                records[index] = record
            for record in records:
                number += 1
                if "error" in record:
                    broken += 1
                    first = first or f"line {number}: {record['error']}"
                sys.stdout.write(json.dumps({"line": number, **record}, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            progress.advance(len(lines))
    return number, broken, first


if __name__ == "__main__":
    cli_main()
