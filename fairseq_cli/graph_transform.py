"""The action of fairseq-graph that changes a model: transform."""

import argparse
from pathlib import Path

from fairseq_cli.graph_arguments import MODEL, add_inputs

ACTIONS = {
    "transform": "run the passes of a TOML or YAML file on a model, and write the result to a folder",
}


def add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    action.add_argument("model", nargs="?", help=f"{MODEL}; in place of the file's model")
    action.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="TOML or YAML: model, inputs, [passes.NAME] in order"
    )
    action.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="a setting in place of the file's, such as passes.quantize.linear.config.data_in_width=6; repeatable",
    )
    action.add_argument(
        "--load", metavar="FILE", help="weights: a checkpoint of ours or of Lightning, a state dict (.pt), safetensors"
    )
    action.add_argument(
        "--load-type", metavar="TYPE", help="auto (default), pl (of Lightning), pt (of torch.save), safetensors"
    )
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
    print(done)
