"""Passes that only look: what `fairseq-graph report`, `types`, `shapes` say, and statistics, as steps of a file.

[passes.report_graph]
[passes.report_node_type]
[passes.report_node_shape]
[passes.report_node_meta_param]         # all that is known of each node, statistics included
[passes.profile_statistics]             # options: see `fairseq.graph.profile_config`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from fairseq.errors import ConfigError, unknown
from fairseq.graph import profile_output, report
from fairseq.graph.diff import quantized_parts
from fairseq.graph.inputs import batches_like
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.registry import PASSES
from fairseq.graph.profile import ProfileRow
from fairseq.graph.profile_config import PROFILE, profile_graph
from fairseq.quantization.quantized_model import get_quantization
from fairseq.text_table import text_table

WHERE = ("file_name", "save_path")  # MASE's words for the file of a report
SAMPLES = 32  # of made-up batches, where num_samples does not say otherwise


@dataclass(frozen=True)
class Report:
    """What a pass says of a graph: `str` is the text, `files` what it leaves in a run folder."""

    name: str
    text: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return self.text

    def save(self, folder: Union[str, Path]) -> list[Path]:
        """Write the files into `folder`; return their paths."""
        paths = []
        for name, text in self.files.items():
            paths.append(Path(folder) / name)
            paths[-1].write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
        return paths


@PASSES.register("report_graph")
def report_graph(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Report]:
    """Every node, the graph as text, how many nodes of each kind, layer types.

    Options:
        file_name, save_path: name of the file in the run folder (default "report_graph.txt").
    """
    return graph, _report("report_graph", graph_text(graph), options)


@PASSES.register("report_node_type")
def report_node_type(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Report]:
    """The type of every node's module or function.

    Options:
        file_name, save_path: name of the file in the run folder (default "report_node_type.txt").
    """
    return graph, _report("report_node_type", text_table(report.type_rows(graph)), options)


@PASSES.register("report_node_shape")
def report_node_shape(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Report]:
    """Shapes that every node takes and gives.

    Options:
        file_name, save_path: name of the file in the run folder (default "report_node_shape.txt").
    """
    return graph, _report("report_node_shape", text_table(report.shape_rows(graph)), options)


@PASSES.register("report_node_meta_param")
def report_node_meta_param(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Report]:
    """All that is known of each node: kind, type, shapes, parameters, bits, and statistics that a pass before found.

    Options:
        which: a list of common, software, all (default ["all"]).
        file_name, save_path: name of the file in the run folder (default "report_node_meta_param.txt").
    """
    which = options.get("which", ["all"])
    which = [which] if isinstance(which, str) else list(which)
    for name in which:
        if name not in ("all", "common", "software"):
            raise ConfigError(unknown("part", str(name), ("all", "common", "software"), where="report_node_meta_param"))
    rows = meta_rows(graph, "all" in which or "common" in which, "all" in which or "software" in which)
    return graph, _report("report_node_meta_param", text_table(rows), options, ("which",))


@PASSES.register(PROFILE)
def profile_statistics(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Report]:
    """Statistics of weights and activations, on made-up batches of the graph's inputs.

    MASE's words are target_weight_nodes, weight_statistics, target_activation_nodes and activation_statistics,
    whose settings device and dims say nothing new; input_generator and profile_output_activation have no effect.

    Options:
        by: how modules are matched: `type`, `name` or `regex` (default "type").
        weights: a table of match, a list of modules, and statistics, a table of names with their settings.
        activations: the same for what modules take and give.
        num_samples: how many made-up examples they are of (default 32).
        points: whether quantizers and their errors are measured, too (default false).
    """
    number = options.get("num_samples", SAMPLES)
    batches = [] if graph.inputs is None else batches_like(graph.model, graph.inputs, number)
    rows, notes = profile_graph(graph.model, options, batches)
    graph.statistics[:] = rows
    text = "\n\n".join([profile_output.tables(rows), *notes])
    return graph, Report(PROFILE, text, {f"{PROFILE}.csv": profile_output.csv_text(rows), f"{PROFILE}.txt": text})


def graph_text(graph: ModelGraph) -> str:
    """The tables of `report_graph`."""
    found = report.summary(graph)
    parts = [text_table(report.node_rows(graph)), str(graph.graph).strip()]
    parts.append(text_table([{"kind": kind, "nodes": number} for kind, number in found["counts"].items()]))
    types = [{"layer type": name, "nodes": number} for name, number in found["layer_types"].items()]
    return "\n\n".join([*parts, *([text_table(types)] if types else [])])


def meta_rows(graph: ModelGraph, common: bool = True, software: bool = True) -> list[dict[str, Any]]:
    """A row per node."""
    shapes = {row["name"]: row for row in report.shape_rows(graph)}
    rows = []
    for node in graph.graph.nodes:
        info = node.meta["info"]
        row: dict[str, Any] = {"name": info.name, "opcode": info.kind, "type": info.type, "target": info.target}
        if common:
            shape = shapes[info.name]
            row.update({"in": shape["in"], "out": shape["out"], "dtype": shape["dtype"]})
            row.update({"parameters": info.parameters or 0, "quantized": _quantized(graph, node)})
        if software:
            row["statistics"] = _statistics(graph.statistics, str(node.target) if info.kind == "call_module" else None)
        rows.append(row)
    return rows


def _quantized(graph: ModelGraph, node: Any) -> str:
    if node.op != "call_module":
        return ""
    path = str(node.target)
    return ", ".join(quantized_parts(get_quantization(graph.model), path, graph.model.get_submodule(path)))


def _statistics(rows: list[ProfileRow], path: Any) -> str:
    parts = []
    for row in rows:
        if row.module == path:
            for name, values in row.statistics.items():
                numbers = ", ".join(f"{key} {value:.6g}" for key, value in values.items() if _is_number(value))
                parts.append(f"{row.tensor} {name}: {numbers}")
    return "; ".join(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _report(name: str, text: str, options: Mapping[str, Any], known: tuple[str, ...] = ()) -> Report:
    for key in options:
        if key not in (*WHERE, *known):
            raise ConfigError(unknown("option", str(key), [*WHERE, *known], where=name))
    given = next((options[key] for key in WHERE if options.get(key) not in (None, "NA")), None)
    file = Path(str(given)).name if given is not None else f"{name}.txt"
    return Report(name, text, {file: text})
