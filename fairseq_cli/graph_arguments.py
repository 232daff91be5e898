"""Arguments that actions of fairseq-graph have in common."""

import argparse
from pathlib import Path

MODEL = "a checkpoint, a folder of transformers, FILE.py:CALLABLE or package.module:CALLABLE (runs that code)"


def add_model(action: argparse.ArgumentParser, optional: bool = False, note: str = "") -> None:
    action.add_argument("model", help=MODEL + note, **({"nargs": "?"} if optional else {}))  # type: ignore[arg-type]


def add_config(action: argparse.ArgumentParser, required: bool, what: str) -> None:
    """--config, --set and --load, which `fairseq.graph.config.settings.read_settings` reads."""
    group = action.add_argument_group("settings from a file")
    group.add_argument("--config", required=required, type=Path, metavar="FILE", help=what)
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="a setting in place of the file's, such as passes.quantize.linear.config.data_in_width=6; repeatable",
    )
    group.add_argument(
        "--load", metavar="FILE", help="weights: a checkpoint of ours or of Lightning, a state dict (.pt), safetensors"
    )
    group.add_argument(
        "--load-type",
        metavar="TYPE",
        help="what --load is: auto (default), pl (of Lightning), pt (of torch.save), safetensors",
    )


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
