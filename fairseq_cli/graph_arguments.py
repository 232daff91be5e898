"""Arguments that actions of fairseq-graph have in common."""

import argparse

MODEL = "a checkpoint, a folder of transformers, FILE.py:CALLABLE or package.module:CALLABLE (runs that code)"


def add_model(action: argparse.ArgumentParser) -> None:
    action.add_argument("model", help=MODEL)


def add_inputs(action: argparse.ArgumentParser, note: str = "") -> None:
    """--input, which `fairseq.graph.sources.make_inputs` reads."""
    action.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:DTYPE[SHAPE]",
        help=f"an input of forward by its name, such as input_ids:int64[2,11]; repeatable. {note}Without it token ids, "
        "where the model takes them",
    )


def add_overwrite(action: argparse.ArgumentParser) -> None:
    action.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
