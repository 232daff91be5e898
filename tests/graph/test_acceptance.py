"""What the graph tools promise, row by row (docs/graph_acceptance.md): the rows that no test of a part shows whole.

Each test names its row and its oracle. The table in the docs names a test for every row; the last one here looks
whether those exist.
"""

import ast
import csv
import io
import re
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from torch import nn

from fairseq.graph import diff, trace
from fairseq.graph.diff import histogram
from fairseq.graph.flops import count
from fairseq.graph.node_info import KINDS
from fairseq.graph.profile import profile
from fairseq.graph.profile_output import csv_text, json_rows, tables
from fairseq.graph.report import node_rows, parameter_rows, summary
from tests.graph.models import MODELS, jsc_tiny, random, tokens

REPOSITORY = Path(__file__).parents[2]


class Watch(torch.fx.Interpreter):
    """What every node of a graph gives when it runs."""

    def __init__(self, module: torch.fx.GraphModule):
        super().__init__(module)
        self.seen: dict[str, Any] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        self.seen[n.name] = super().run_node(n)
        return self.seen[n.name]


@pytest.mark.parametrize("name", MODELS)
def test_a1_every_node_has_kind_shape_dtype_and_parameters(name: str) -> None:
    """A1. Oracles: torch.fx.Interpreter for shapes and dtypes at a size that tracing has not seen; p.numel()."""
    make, inputs = MODELS[name]
    model = make().eval()
    graph = trace(model, inputs(2, 9))
    watch = Watch(graph.module)
    with torch.no_grad():
        watch.run(*inputs(5, 7).values())
    names = {}  # of the sizes that vary -> what they are here
    for info in graph.nodes:
        if info.kind == "placeholder":
            names.update(zip(map(str, info.shape), watch.seen[info.name].shape, strict=True))
    for info in graph.nodes:
        assert info.kind in KINDS
        given = watch.seen[info.name]
        if isinstance(given, torch.Tensor) and info.kind != "output":
            sizes = [size if isinstance(size, int) else eval(size, {}, dict(names)) for size in info.shape]
            assert (sizes, f"torch.{info.dtype}") == (list(given.shape), str(given.dtype)), info
        if info.kind == "call_module":
            layer = model.get_submodule(info.target)
            assert info.type == type(layer).__name__
            assert info.parameters == sum(p.numel() for p in layer.parameters())


def test_a2_report_of_jsc_tiny() -> None:
    """A2. Oracle: torch.fx.symbolic_trace of the same model."""
    model = jsc_tiny().eval()
    graph, reference = trace(model, {"input": random(8, 16)}), torch.fx.symbolic_trace(model)
    rows = node_rows(graph)
    assert [list(row) for row in rows] == [["opcode", "name", "target", "args", "kwargs"]] * 6
    assert [(row["opcode"], row["target"]) for row in rows] == [
        (node.op, str(node.target)) for node in reference.graph.nodes
    ]
    assert summary(graph) == {
        "counts": {**dict.fromkeys(KINDS, 0), "placeholder": 1, "call_module": 4, "output": 1},
        "layer_types": {"BatchNorm1d": 1, "ReLU": 2, "Linear": 1},
    }


@pytest.mark.parametrize("name", MODELS)
def test_a3_parameters_are_counted_once(name: str) -> None:
    """A3. Oracle: the sum of p.numel(), where some are frozen and one is shared by two modules."""
    model = MODELS[name][0]()
    parameters = list(model.parameters())
    for parameter in parameters[::2]:
        parameter.requires_grad_(False)
    tied = nn.Module()
    tied.model, tied.again = model, nn.Module()
    tied.again.register_parameter("weight", parameters[0])
    *rows, total = parameter_rows(tied)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    assert (total["trainable"], total["parameters"]) == (trainable, sum(p.numel() for p in parameters))
    assert sum(row["parameters"] for row in rows) == total["parameters"] and rows[-1]["note"].startswith("1 shared")


@pytest.mark.parametrize(("by", "match"), [("type", "relu"), ("name", "3"), ("regex", "[13]")])
def test_a4_statistics(by: str, match: str) -> None:
    """A4. Oracles: torch.var, torch.mean and torch.quantile of the tensors that hooks of the test have kept."""
    model, batches = jsc_tiny().eval(), [random(size, 16) for size in (6, 9, 30)]
    kept: dict[str, list[torch.Tensor]] = {}
    for path in ("1", "3"):
        model.get_submodule(path).register_forward_pre_hook(
            lambda module, args, path=path: kept.setdefault(path, []).append(args[0].clone())
        )
    with torch.no_grad():
        for x in batches:
            model(x)
    expected = {path: torch.cat(parts).double() for path, parts in kept.items()}
    wanted = {"range_quantile": {"quantile": 0.97}, "variance_online": {}, "variance_precise": {}}
    rows = profile(model, batches, by=by, match=[match], weights=[], activations=wanted)
    inputs = {row.module: row.statistics for row in rows if row.tensor == "input"}
    assert list(inputs) == (["3"] if by == "name" else ["1", "3"])
    for path, statistics in inputs.items():
        x = expected[path]
        low, high = torch.quantile(x, torch.tensor([0.03, 0.97], dtype=torch.float64)).tolist()
        quantile, precise = statistics["range_quantile"], statistics["variance_precise"]
        assert (quantile["min"], quantile["max"]) == pytest.approx((low, high), rel=1e-12)
        assert quantile["range"] == quantile["max"] - quantile["min"]
        assert quantile["count"] == precise["count"] == 45 * (16 if path == "1" else 5)
        assert (precise["mean"], precise["variance"]) == pytest.approx((float(x.mean()), float(x.var())), rel=1e-10)
        for value in ("mean", "variance"):
            assert statistics["variance_online"][value] == pytest.approx(precise[value], rel=1e-6, abs=1e-6)


def test_a4_statistics_of_weights() -> None:
    """A4. Oracles: numel, torch.mean and torch.var of the weight of the one Linear."""
    model = jsc_tiny()
    rows = profile(model, match=["linear"], weights=["variance_precise"])
    weight = model[2].weight.detach().double()
    assert [(row.module, row.tensor) for row in rows] == [("2", "weight"), ("2", "bias")]
    assert rows[0].statistics["variance_precise"] == pytest.approx(
        {"count": 80, "mean": float(weight.mean()), "variance": float(weight.var())}, rel=1e-12
    )


def test_a5_the_same_numbers_in_every_form() -> None:
    """A5. What the terminal, CSV and JSON say of the same statistics."""
    rows = profile(
        jsc_tiny(), [random(8, 16)], match=["linear"], weights=["variance_precise"], activations=["abs_mean"]
    )
    as_json = {(row["module"], row["tensor"]): row["statistics"] for row in json_rows(rows)}
    as_csv = {(row["module"], row["tensor"]): row for row in csv.DictReader(io.StringIO(csv_text(rows)))}
    shown = tables(rows)
    assert list(as_json) == list(as_csv) == [("2", name) for name in ("weight", "bias", "input", "output")]
    for place, statistics in as_json.items():
        for statistic, values in statistics.items():
            for name, value in values.items():
                assert float(as_csv[place][f"{statistic}.{name}"]) == value
                assert name in shown and (f"{value:.4g}" in shown or str(value) in shown), (name, value)


class Classifier(nn.Module):
    """Takes what encoders of transformers take: without a mask it makes one, with labels it gives a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.loss = nn.Embedding(20, 8), nn.Linear(8, 3), nn.CrossEntropyLoss()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        labels: Optional[torch.Tensor] = None,
    ) -> dict[str, torch.Tensor]:
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.shape)
        mask = attention_mask[..., None]
        logits = self.fc((self.embed(input_ids) * mask).sum(1) / mask.sum(1))
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}


def test_a13_optional_inputs() -> None:
    """A13. The diff of both graphs lists the nodes that make a mask as new ones and the loss as one that is gone."""
    model, ids = Classifier().eval(), tokens(2, 9)
    every = {"input_ids": ids, "attention_mask": torch.ones(2, 9), "labels": torch.tensor([0, 1])}
    whole, bare = trace(model, every), trace(model, {"input_ids": ids})
    assert (whole.counts()["placeholder"], bare.counts()["placeholder"]) == (3, 1)
    rows = diff.diff(whole, bare)
    assert [(row.op, row.before) for row in rows if row.after is None] == [("call_module", "CrossEntropyLoss")]
    assert "ones" in [row.after for row in rows if row.before is None]
    assert all(row.before == row.after for row in rows if None not in (row.before, row.after))
    assert next(row for row in histogram(rows) if row["type"] == "CrossEntropyLoss")["changed"] == 1


class Attention(nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        return scores.softmax(-1) @ value


@pytest.mark.parametrize(
    ("model", "inputs", "macs"),
    [
        (jsc_tiny(), {"input": (8, 16)}, 8 * 16 * 5),
        (nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 2)), {"input": (2, 9, 4)}, 2 * 9 * (4 * 7 + 7 * 2)),
        (nn.Conv2d(3, 8, 3, 2), {"input": (2, 3, 11, 13)}, 2 * 8 * 5 * 6 * 3 * 3 * 3),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), {"input": (2, 8, 5, 5)}, 2 * 8 * 5 * 5 * 3 * 3),
        (Attention(), {"query": (2, 4, 9, 6), "key": (2, 4, 7, 6), "value": (2, 4, 7, 5)}, 2 * 4 * 9 * 7 * (6 + 5)),
    ],
    ids=["one layer", "mlp", "convolution", "depthwise", "attention"],
)
def test_d1_operations_are_those_counted_by_hand(model: nn.Module, inputs: dict, macs: int) -> None:
    """D1. Oracle: closed forms, written out above."""
    rows = count(trace(model.eval(), {name: random(*sizes) for name, sizes in inputs.items()}))
    assert sum(row.macs for row in rows) == macs
    assert sum(row.flops for row in rows) == 2 * macs and sum(row.bitops for row in rows) == 32 * 32 * macs


def test_every_row_names_tests_that_exist() -> None:
    """The table in the docs: rows A1 to A13, D1 and D2, each with at least one test of this repository."""
    text = (REPOSITORY / "docs" / "graph_acceptance.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(): cells[-2] for cells in (line.split("|") for line in text.splitlines()) if len(cells) > 4}
    assert set(rows) >= {*(f"A{number}" for number in range(1, 14)), "D1", "D2"}
    for row, cell in rows.items():
        if not re.fullmatch(r"[AD]\d+", row):
            continue
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", cell)
        assert named, row
        for file, test in named:
            tree = ast.parse((REPOSITORY / "tests" / file).read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (row, file, test)
