"""Quantizers for what a model calls as functions: by type, name and regular expression, as for modules."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import quantize
from fairseq.graph.flops import count
from fairseq.quantization import get_quantization
from tests.graph.models import random


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.key, self.query = nn.Linear(8, 8), nn.Parameter(torch.eye(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = F.linear(x, self.query) @ self.key(x).mT
        return torch.bmm(scores.softmax(-1), x) + x


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Attention(), nn.ReLU(), Attention()).eval()


X = {"input": random(3, 5, 8)}
FIXED = {"name": "integer", "data_in_width": 8, "data_in_frac_width": 4, "weight_width": 8, "weight_frac_width": 4}


def fixed(x: torch.Tensor) -> torch.Tensor:
    return (x * 16).round().clamp(-128, 127) / 16


@pytest.mark.parametrize(
    ("pattern", "by", "changed"),
    [
        ("matmul", "type", ["matmul", "matmul_1"]),
        ("bmm", "type", ["bmm", "bmm_1"]),
        ("add", "type", ["add", "add_1"]),
        ("linear", "type", ["0.key", "linear", "2.key", "linear_1"]),
        ("2.matmul", "name", ["matmul_1"]),
        (r"0\.(bmm|add)", "regex", ["bmm", "add"]),
    ],
)
def test_exactly_the_matched_calls_change(pattern: str, by: str, changed: list[str]) -> None:
    config = {pattern: FIXED}
    given = copy.deepcopy(config)
    graph, result = quantize(net(), config, by, inputs=X)
    assert sorted(result.changed) == sorted(changed) and config == given
    assert all("8 bits fixed_point" in row.after for row in result.rows if row.changed)
    again, second = quantize(graph, config, by)
    assert torch.equal(again(**X), graph(**X)) and second.changed == []
    plain, _ = quantize(graph, {pattern: "NA"}, by)
    assert get_quantization(plain.model) is None and torch.equal(plain(**X), net()(**X))


def test_products_are_those_of_rounded_factors() -> None:
    model, x = nn.Sequential(Attention()).eval(), X["input"]
    graph, _ = quantize(model, {"matmul": FIXED, "bmm": FIXED, "linear": FIXED}, inputs=X)
    part = model[0]
    with torch.no_grad():
        scores = (
            fixed(F.linear(fixed(x), fixed(part.query)))
            @ fixed(F.linear(fixed(x), fixed(part.key.weight), part.key.bias)).mT
        )
        expected = torch.bmm(fixed(scores.softmax(-1)), fixed(x)) + x
        torch.testing.assert_close(graph(**X), expected)
        torch.testing.assert_close(model(**X), expected)
    bits = {cost.name: cost.bits for cost in count(graph)}
    assert bits["matmul"] == bits["bmm"] == bits["linear"] == (8, 8)
    model.train()(**X).sum().backward()
    assert part.query.grad is not None and part.key.weight.grad is not None


@pytest.mark.parametrize(
    ("config", "by", "line"),
    [
        (
            {"softmax": FIXED},
            "type",
            "'softmax' is called as a function, which has no quantizers; use a module",
        ),
        ({"fc[12": FIXED}, "regex", "'fc[12': not a regular expression: unterminated character set"),
        ({"0.matmull": FIXED}, "name", "no module named '0.matmull'"),
        ({"matmul": {"bias": "symmetric", "output": {"bits": 8, "format": "nope"}}}, "type", "nope"),
    ],
)
def test_errors_are_one_line_and_change_nothing(config: dict, by: str, line: str) -> None:
    model = net()
    with pytest.raises(ConfigError) as error:
        quantize(model, config, by, inputs=X)
    assert line in str(error.value) and "\n" not in str(error.value) and get_quantization(model) is None
