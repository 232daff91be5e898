"""`quantize`: quantizers for the modules that are chosen, and for no others.

    graph, result = quantize(model, {"linear": {"weight": {"format": "symmetric", "bits": 4}}}, inputs=inputs)
    graph, result = quantize(graph, {"linear": {"name": "integer", "data_in_width": 8, ...}, "default": "NA"})

It writes rules for `fairseq.quantization.quantize_model`, which does the work: the model is quantized in place, keeps
its parameters and keys, and `model.quantization` is its plan. A call replaces what an earlier one has done. Settings
that a configuration leaves open are those of the preset int8, but for ranges: they are those of the tensor at hand.
A `range` that is averaged over batches, such as ema, needs `calibration`.

Patterns mean calls of functions, too: `matmul` by type, or `block.matmul_1` by name (`functions.py`). Their left factor
or summand is `input`, the right one `weight`. `default` is for layers alone.

>>> import torch
>>> model = nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU()).eval()
>>> graph, result = quantize(model, {"linear": {"bits": 8, "format": "symmetric"}}, inputs=torch.randn(8, 16))
>>> print(result)
type         total  changed  unchanged
BatchNorm1d      1        0          1
Linear           1        1          0
ReLU             2        0          2
"""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph.diff import described
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.functions import Functions
from fairseq.graph.passes.operands import Operands, read_operands
from fairseq.graph.passes.registry import PASSES, graph_of
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import nearest_of, select, way_of
from fairseq.graph.tracing import Inputs
from fairseq.quantization.convert import quantize_model, remove_quantization
from fairseq.quantization.observers import OBSERVERS
from fairseq.quantization.plan.rules import Rule
from fairseq.quantization.plan.targets import QuantizationTarget, UnsupportedTarget, find_targets
from fairseq.quantization.quantized_model import get_quantization
from fairseq.quantization.spec import BIAS, GRADIENT, WEIGHT

DEFAULT = "default"
SIDES = {"left": "input", "right": "weight"}  # of sums, which are no products
NOTHING_YET = Rule("*", quantize=False, range="minmax")  # of what is at hand: it needs no calibration


def quantize(
    model: Union[ModelGraph, nn.Module],
    config: Mapping[str, Any],
    by: Optional[str] = None,
    *,
    inputs: Inputs = None,
    calibration: Optional[Iterable[Any]] = None,
) -> tuple[ModelGraph, Result]:
    """Quantize the modules of `model` that `config` names, in place; all others are in full precision afterwards.

    Args:
        model: a graph, or a model, which is traced with `inputs`.
        config: pattern -> what its modules' operands become (`operands.py`); a later pattern replaces an earlier one.
            `default` is for layers that multiply and that no pattern matches. The mapping may say `by`, too. It is
            not changed.
        by: what the patterns are: `type` (if nobody says otherwise), `name` or `regex`.
        calibration: batches, as `Quantization.calibrate` takes them.

    Returns:
        The new graph, and what has changed.

    Raises:
        ConfigError: a pattern that matches nothing, or nothing that can be quantized; an unknown key or format. A model
            that was quantized is as it was then.
    """
    graph = graph_of(model, inputs)
    patterns = {str(key): value for key, value in config.items() if key != "by"}
    way = way_of(by or str(config.get("by", "type")))
    targets = {target.path: target for target in find_targets(graph.model) if target.quantizers}
    functions = Functions(graph)
    called: dict[str, QuantizationTarget] = {}
    chosen: dict[str, Operands] = {}
    notes: dict[str, None] = {}
    default = patterns.pop(DEFAULT, None)
    for pattern, settings in patterns.items():
        operands, remarks = read_operands(settings, pattern)
        paths, more = _paths(graph.model, targets, functions, pattern, way)
        called.update(more)
        chosen.update(dict.fromkeys([*paths, *more], operands))
        notes.update(dict.fromkeys(remarks))
    operands, remarks = read_operands(default, DEFAULT)
    notes.update(dict.fromkeys(remarks))
    if operands:
        rest = (path for path, target in targets.items() if target.multiplies and path not in chosen)
        chosen.update(dict.fromkeys(rest, operands))
    before = described(graph)
    if calibration is None and not graph.model.training:
        _check_ranges(chosen)
    known = targets | called
    rules = [rule for path, operands in chosen.items() for rule in _rules(known[path], operands)]
    changed = _quantized(graph.model, rules, graph.inputs if called else None)
    quantization = get_quantization(changed)
    if calibration is not None and quantization is not None:
        quantization.calibrate(changed, calibration)
    return changed_in_place(before, graph, changed, "quantize", notes=tuple(notes))


@PASSES.register("quantize")
def quantize_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Quantize the modules that patterns choose, and no others.

    Each further option is a pattern, such as linear or "encoder.layers.0.fc1", and what its operands become: a format's
    name (fairseq-formats lists them), a table of operands, or MASE's keys.

        linear = "mxfp8"
        linear = {weight = {format = "symmetric", bits = 4}, input = "fp8_e4m3"}
        linear = {name = "integer", data_in_width = 8, data_in_frac_width = 4, weight_width = 8, weight_frac_width = 4}

    Operands are input, weight, bias, output and grad_output. "NA" leaves a layer, an operand or a setting as it is.

    Options:
        by: what patterns are: `type`, `name` or `regex` (default "type").
        PATTERN: what operands of its modules, or of calls of its functions, become; a later one replaces an earlier.
        default: the same for layers that multiply and that no pattern matches (default "NA").
    """
    return quantize(graph, options)


def _quantized(model: nn.Module, rules: list[Rule], inputs: Any) -> nn.Module:
    if not rules:
        return remove_quantization(model)
    gradients = any(rule.grad_bits for rule in rules)
    settings: Any = {"num_grad_bits": 8 if gradients else 0, "rules": [NOTHING_YET, *rules], "example_inputs": inputs}
    if get_quantization(model) is not None:  # what is wrong is said before the quantizers that are there go
        quantize_model(_with_the_same_weights(model), "int8", **settings)
    return quantize_model(model, "int8", **settings)


def _with_the_same_weights(model: nn.Module) -> nn.Module:
    """A copy of the modules alone."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def _check_ranges(chosen: Mapping[str, Operands]) -> None:
    for path, operands in chosen.items():
        for operand in ("input", "output"):
            source = operands.get(operand, {}).get("range", "minmax")
            name = source if isinstance(source, str) else source.get("name", "minmax")
            if OBSERVERS.lookup(name).is_running:
                raise ConfigError(
                    f"{path}.{operand}: the range {name} is averaged over batches; give calibration=batches"
                )


def _paths(
    model: nn.Module, targets: Mapping[str, QuantizationTarget], functions: Functions, pattern: str, way: str
) -> tuple[list[str], dict[str, QuantizationTarget]]:
    """Targets that a pattern means, modules and calls of functions; other modules that it matches are left alone.

    By type it means both; by name or regular expression functions where it means no module that has quantizers.
    """
    try:
        matched = select(model, pattern, way)
    except ConfigError as error:
        called = functions.matched(pattern, way)
        if called:
            return [], called
        raise error from None
    found = [path for path in matched if path in targets]
    called = functions.matched(pattern, way) if way == "type" or not found else {}
    if not found and not called:
        kind = type(model.get_submodule(matched[0])).__name__
        raise ConfigError(
            f"{pattern!r} matches {matched[0] or 'the model'!r}, a {kind}, which has no quantizers"
            f"{nearest_of(pattern, targets)}"
        )
    return found, called


def _rules(target: QuantizationTarget, operands: Operands) -> list[Rule]:
    """One rule for each quantizer of `target` that an operand means.

    Raises:
        ConfigError: the target has no such operand.
    """
    if isinstance(target, UnsupportedTarget) and operands:
        target.install({}, None, 8)  # type: ignore[arg-type]  # raises and says why
    by_operand: dict[str, list[str]] = {}
    for path, operand in _operands(target).items():
        by_operand.setdefault(operand, []).append(path)
    rules = []
    for operand, settings in operands.items():
        if operand not in by_operand:
            if operand == "bias" or (operand == "weight" and set(by_operand) == {"input", "output"}):
                continue  # a layer without one, an activation: the same configuration is for those that have it
            raise ConfigError(f"{target.path!r}, a {target.kind}, has no {operand}; it has {', '.join(by_operand)}")
        for path in by_operand[operand]:
            rules.append(Rule(f"re:{re.escape(path)}", quantize=True, **_settings(settings, operand)))
    return rules


def _settings(settings: Mapping[str, Any], operand: str) -> dict[str, Any]:
    """Fields of a rule; bits are pinned: those that are given, those of the format, or 8."""
    from fairseq.quantization.formats import build_format

    found = dict(settings)
    bits = found.pop("bits", None) or found.pop("grad_bits", None)
    if bits is None:
        bits = build_format(found.get("format", "symmetric")).fixed_bits or 8
    found["grad_bits" if operand == "grad_output" else "bits"] = bits
    return found


def _operands(target: QuantizationTarget) -> dict[str, str]:
    """Quantizer path -> operand."""
    found = {product.left: "input" for product in target.products()}
    found.update({product.right: "weight" for product in target.products()})
    for path, role in target.roles.items():
        known = {WEIGHT: "weight", BIAS: "bias", GRADIENT: "grad_output"}.get(role)
        word = path.rpartition(".")[2]
        found.setdefault(path, known or SIDES.get(word, word))
    return found
