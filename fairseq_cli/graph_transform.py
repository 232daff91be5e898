"""The action of fairseq-graph that changes a model: transform."""

import argparse
from pathlib import Path

from fairseq_cli.fitting import show
from fairseq_cli.graph_arguments import add_config, add_inputs, add_model

ACTIONS = {
    "transform": "run the passes of a TOML or YAML file on a model, and write the result to a folder",
}


def add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    add_model(action, optional=True, note="; in place of the file's model")
    add_config(action, required=True, what="TOML or YAML: model, inputs, [passes.NAME] in order")
    action.epilog = "Passes and their options: fairseq-graph passes [NAME]."
    add_inputs(action, "In place of the file's inputs. ")
    action.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="run folder to write (default: graph-runs/NAME, NAME of the file or its project; with a number behind it "
        "where that is taken)",
    )
    action.add_argument("--overwrite", action="store_true", help="replace a run folder that is there already")


def run(args: argparse.Namespace) -> None:
    from fairseq.graph.transforming import transform

    done = transform(
        args.config,
        args.model,
        load=args.load,
        load_type=args.load_type,
        inputs=args.input,
        changes=args.changes,
        out=args.out,
        overwrite=args.overwrite,
        write=True,
    )
    show(str(done))
