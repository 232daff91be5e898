"""The action of fairseq-graph that measures: profile."""

import argparse
import json
from pathlib import Path
from typing import Any

from fairseq_cli.batch_arguments import add_batch_arguments, batch_settings
from fairseq_cli.fitting import show
from fairseq_cli.graph_arguments import add_config, add_inputs, add_model, add_overwrite
from fairseq_cli.graph_batches import from_data, made_up

ACTIONS = {
    "profile": "statistics of weights, inputs and outputs over batches, and errors of quantizers",
}


def add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    add_model(action, optional=True, note="; with --config in place of the file's model")
    add_config(action, required=False, what="[passes.profile_statistics] of a TOML or YAML file, and its model")
    add_batch_arguments(action, "batches: of a checkpoint's task, or made up", subset="valid", batches=4)
    add_inputs(action, "Batches of random values; without --data. ")
    chosen = action.add_argument_group("what to look at")
    chosen.add_argument("--by", choices=("type", "name", "regex"), help="how --match names modules (default: type)")
    chosen.add_argument(
        "--match", action="append", metavar="X", help="modules, such as linear; repeatable (default: all)"
    )
    chosen.add_argument(
        "--stat",
        action="append",
        metavar="NAME[:KEY=VALUE,...]",
        help="a statistic, such as range_quantile:quantile=0.97; repeatable (default: variance_online, range_min_max)",
    )
    chosen.add_argument("--only", choices=("weights", "activations"), help="leave the others out")
    out = action.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="as one JSON object")
    out.add_argument("--csv", type=Path, metavar="FILE", help="one line per tensor")
    out.add_argument("--png", type=Path, metavar="FILE", help="a picture with a panel per statistic")
    add_overwrite(action)


def run(args: argparse.Namespace) -> None:
    from fairseq.errors import ConfigError
    from fairseq.graph import profile_output
    from fairseq.output_files import check_output, check_picture

    settings = batch_settings(args)
    if args.csv is not None:
        check_output(args.csv, args.overwrite, "--csv")
    if args.png is not None:
        check_picture(args.png, args.overwrite, "--png")
    if args.data is not None and args.input:
        raise ConfigError("give --data or --input, not both")
    if args.config is None and args.model is None:
        raise ConfigError("give a model, or --config FILE that names one")
    rows, notes = _by_flags(args, settings) if args.config is None else _by_file(args, settings)
    if args.csv is not None:
        args.csv.write_text(profile_output.csv_text(rows), encoding="utf-8")
    if args.png is not None:
        profile_output.draw(rows, args.png)
    tables = "\n\n".join([profile_output.tables(rows), *notes])
    print(json.dumps({"rows": profile_output.json_rows(rows)}, indent=1)) if args.json else show(tables)


def _by_flags(args: argparse.Namespace, settings: dict[str, Any]) -> tuple[list[Any], list[str]]:
    from fairseq.errors import ConfigError
    from fairseq.graph.profile import DEFAULT, profile
    from fairseq.graph.statistics import build_statistic

    if args.changes or args.load:
        raise ConfigError("--set and --load belong to --config FILE")
    wanted = dict(map(_statistic, args.stat or DEFAULT))
    for name, keys in wanted.items():
        build_statistic(name, **keys)
    if args.data is not None:
        model, batches, call = from_data(args.model, **settings)
    else:
        model, batches, call = made_up(args.model, args.input, 0 if args.only == "weights" else args.batches)
    rows = profile(
        model,
        batches,
        by=args.by or "type",
        match=args.match,
        weights={} if args.only == "activations" else wanted,
        activations={} if args.only == "weights" else wanted,
        run=call,
    )
    return rows, []


def _by_file(args: argparse.Namespace, settings: dict[str, Any]) -> tuple[list[Any], list[str]]:
    from fairseq.errors import ConfigError
    from fairseq.graph.config.settings import read_settings
    from fairseq.graph.inputs import batches_like, make_inputs
    from fairseq.graph.profile_config import PROFILE, profile_graph
    from fairseq.graph.starting_model import find_start

    for flag in ("by", "match", "stat", "only"):
        if getattr(args, flag):
            raise ConfigError(f"--{flag}: the statistics are those of --config; use --set passes.{PROFILE}...=VALUE")
    flags = {"model": args.model, "load_name": args.load, "load_type": args.load_type, "inputs": args.input or None}
    found = read_settings(args.config, args.changes, flags)
    options = found.config.passes.get(PROFILE)
    if options is None:
        raise ConfigError(f"{args.config} has no table [passes.{PROFILE}], which says what to measure")
    start = find_start(found)
    batches: list[Any] = []
    call = None
    if args.data is not None:
        _, batches, call = from_data(start.source or "", **settings)
    elif (inputs := make_inputs(start.model, start.inputs)) is not None:
        batches = batches_like(start.model, inputs, options.get("num_samples"), args.batches)
    rows, notes = profile_graph(start.model, options, batches, call)
    return rows, [*found.notes, *start.notes, *notes]


def _statistic(text: str) -> tuple[str, dict[str, Any]]:
    """Name and settings from `NAME:KEY=VALUE,...`."""
    from fairseq.errors import ConfigError

    name, _, rest = text.partition(":")
    settings = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            raise ConfigError(f"--stat {text!r}: {key} needs a number, true or false, as in {key}=1") from None
    return name, settings
