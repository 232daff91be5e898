"""The actions of fairseq-graph that show a model as it is: report, types, shapes, params, flops, diff, draw."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq_cli.fitting import show
from fairseq_cli.graph_arguments import add_inputs, add_model, add_overwrite

ACTIONS = {
    "report": "every node with its target and arguments, counts of the six kinds, layer types",
    "types": "every node with the type of its module or function",
    "shapes": "shapes that every node takes and gives; s0, s1, ... are sizes that may vary",
    "params": "trainable and total parameters by module, each counted once",
    "flops": "multiply-accumulates, FLOPs and BitOPs of every node at the inputs' sizes",
    "diff": "nodes of two models side by side, matched by name, how many of each type have changed in type, format, "
    "masks or adapter, and which modules have other weights",
    "draw": "a picture, SVG or PNG, with quantized layers coloured by their bits",
}


def add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    add_model(action)
    if name == "diff":
        action.add_argument("other", help="the model to compare it with")
    add_inputs(action, "Sizes of 2 and more may vary in the graph: give sizes that differ. ")
    action.add_argument(
        "--leaf", action="append", default=[], metavar="PATH", help="a module to keep as one node; repeatable"
    )
    add_overwrite(action)
    action.add_argument("--train", action="store_true", help="trace it in training mode")
    if name == "draw":
        action.add_argument("--out", type=Path, metavar="FILE", required=True, help="ends in .svg or .png")
        return
    action.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to the terminal")
    action.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> None:
    from fairseq.graph.sources import load_model
    from fairseq.output_files import check_output, check_picture

    if args.out is not None:
        (check_picture if args.action == "draw" else check_output)(args.out, args.overwrite, "--out")
    model = load_model(args.model).train(args.train)
    if args.action == "draw":
        from fairseq.graph.draw import draw
        from fairseq.graph.inputs import leaves_of, make_inputs
        from fairseq.graph.tracing import trace

        draw(trace(model, make_inputs(model, args.input), leaves_of(model, args.leaf)), args.out)
        return
    data = found(args, model)
    text = json.dumps(data, indent=1) if args.json else shown(args.action, data)
    if args.action == "shapes" and not args.json and not any(row["out"] for row in data["nodes"]):
        from fairseq.graph.tracing import example_inputs

        text += f"\n\nno shapes are known without inputs; give them, such as {example_inputs(model)}"
    if args.out is None:
        print(text) if args.json else show(text)
    else:
        args.out.write_text(text + "\n", encoding="utf-8")


def found(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """What an action says of a model, as JSON values."""
    from fairseq.graph import report
    from fairseq.graph.diff import diff, histogram, other_weights
    from fairseq.graph.flops import count
    from fairseq.graph.inputs import leaves_of, make_inputs
    from fairseq.graph.sources import load_model
    from fairseq.graph.tracing import trace

    if args.action == "params":
        return {"parameters": report.parameter_rows(model)}
    graph = trace(model, make_inputs(model, args.input), leaves_of(model, args.leaf))
    if args.action == "diff":
        other = load_model(args.other).train(args.train)
        second = trace(other, make_inputs(other, args.input), leaves_of(other, args.leaf))
        compared = diff(graph, second)
        differing, with_weights = other_weights(graph, second)
        return {
            "histogram": histogram(compared),
            "nodes": [{**asdict(row), "changed": row.changed} for row in compared],
            "other_weights": differing,
            "with_weights": with_weights,
        }
    if args.action == "flops":
        costs = count(graph)
        rows = [
            {"name": cost.name, "type": cost.type, "bits": f"{cost.bits[0]} x {cost.bits[1]}", "macs": cost.macs,
             "flops": cost.flops, "bitops": cost.bitops}
            for cost in costs if cost.macs
        ]  # fmt: skip
        total = {name: sum(getattr(cost, name) for cost in costs) for name in ("macs", "flops", "bitops")}
        return {"nodes": rows, "total": total}
    rows = {"report": report.node_rows, "types": report.type_rows, "shapes": report.shape_rows}[args.action](graph)
    return {**report.summary(graph), "nodes": rows}


def _weights_line(differing: list[str], number: int) -> str:
    some = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
    return (
        "changed: in type, format, masks or adapter. "
        f"Other weights: {len(differing)} of {number} modules that have any{f' ({some})' if some else ''}"
    )


def shown(action: str, data: dict[str, Any]) -> str:
    """The same as tables."""
    from fairseq.text_table import text_table

    if action == "params":
        return text_table(data["parameters"])
    if action == "flops":
        return text_table([*data["nodes"], {"name": "total", **data["total"]}])
    parts = [text_table(data["nodes"])]
    if action == "diff":
        parts.append(text_table(data["histogram"]))
        if data["other_weights"]:
            parts.append(_weights_line(data["other_weights"], data["with_weights"]))
    if action == "report":
        parts += [text_table([{"kind": kind, "nodes": number} for kind, number in data["counts"].items()])]
        types = [{"layer type": name, "nodes": number} for name, number in data["layer_types"].items()]
        parts += [text_table(types)] if types else []
    return "\n\n".join(parts)
