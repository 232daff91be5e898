"""`quantize_model`: give any nn.Module quantizers, by preset and rules.

    from fairseq.quantization import quantize_model
    model = quantize_model(model, "int8", rules=[{"match": "*.classifier.*", "quantize": False}])
    print(model.quantization)    # the plan
    model(x)                     # at the declared evaluation bits
    model(x, num_bits=4)         # at 4 bits, for this call

Linear layers become `QLinear`, products of activations `QMatmul`, torch's attention modules `QMultiheadAttention`;
parameters and state-dict keys stay, so that float checkpoints load with `strict=True` and back. A layer whose
quantizers are all off is left alone.

>>> from torch import nn
>>> import torch
>>> model = quantize_model(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), "cpt_3_8", rules=[
...     {"match": "2.*", "quantize": False}])
>>> type(model[0]).__name__, type(model[2]).__name__, model(torch.randn(1, 4), num_bits=3).shape
('QLinear', 'Linear', torch.Size([1, 2]))
"""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.first_call import FirstCall
from fairseq.quantization.integer_weights import restore_float_weights
from fairseq.quantization.plan.bounds import check_bits
from fairseq.quantization.plan.compute import resolve_compute
from fairseq.quantization.plan.config import ConfigLike, read_config
from fairseq.quantization.plan.example_call import function_targets
from fairseq.quantization.plan.refusals import check_model, nothing_to_quantize, stays_in_full_precision
from fairseq.quantization.plan.resolve import plan_specs, tell_of_new_meanings
from fairseq.quantization.plan.table import Plan, PlanRow
from fairseq.quantization.plan.targets import QuantizationTarget, close_fast_paths, find_targets, open_fast_paths
from fairseq.quantization.plan.targets.functions import remove_functions
from fairseq.quantization.quantized_model import Quantization
from fairseq.quantization.schedules.base import schedule_of
from fairseq.quantization.spec import QuantizerSpec

logger = logging.getLogger(__name__)


def quantize_model(
    model: nn.Module, config: ConfigLike = None, *, example_inputs: Any = None, **changes: Any
) -> nn.Module:
    """Quantize `model` in place and return it; only an outermost Linear is replaced by another module.

    Args:
        model: any module. Parameters are kept, so an optimizer may exist already (learned scales are new parameters).
        config: a preset's name, a mapping, or a `QuantizationConfig`; "cpt" if only `changes` are given.
        example_inputs: arguments of a call of the model: a tuple of positional ones, a mapping of keyword arguments, or
            the only one. One call, of a copy in evaluation, finds the products that forwards call as functions
            (`q @ k.mT`, `F.scaled_dot_product_attention`), so that they are quantized, too. Without them such products
            stay in full precision.
        changes: fields of the config by name: `rules=[...]`, `num_bits=6`, `schedule={"num_cycles": 8}`.

    Returns:
        The model; `model.quantization` is its `Quantization`. With preset `none` the model without any.

    Raises:
        ConfigError: an unknown setting, bits out of range, a rule that matches nothing, a module that would bypass its
            quantizers, a model without anything that can be quantized.
    """
    if config is None and "preset" not in changes:
        config = "cpt"
    resolved = read_config(config, **changes)
    check_model(model)
    model = remove_quantization(model)
    if not resolved.is_on:
        return model
    targets = find_targets(model)
    if example_inputs is not None:
        targets = _by_module(model, [*targets, *function_targets(model, example_inputs)])
    tell_of_new_meanings(resolved.rules)
    specs = plan_specs(targets, resolved)
    products = [product for target in targets if target.is_quantized(specs) for product in target.products()]
    specs, notes = resolve_compute(products, specs)
    schedule = schedule_of(resolved)
    rows = [row for target in targets for row in _rows(target, specs, schedule.low, schedule.high, notes)]
    if not any(row.active for row in rows):
        usual = [path for target in targets for path in target.roles if path not in target.on_request]
        raise ConfigError(nothing_to_quantize(model, usual))
    check_bits(rows, resolved)
    left_out = [target for target in targets if not target.quantizers]
    for warning in stays_in_full_precision(left_out):
        logger.warning(warning)

    context = QuantizationContext(default_bits=resolved.eval_bits, seed=resolved.seed, fused=resolved.fused)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for target in targets:
        if target.is_quantized(specs):
            layer = target.install(specs, context, schedule.high)
            layer.get_submodule(target.quantizers_name).train(target.module.training).to(device)
            model = _replace(model, target.module_path, layer)
    close_fast_paths(model)
    quantization = Quantization(resolved, Plan(rows), context, threaded=_threads_bits(model))
    quantization.attach(model)
    FirstCall(quantization).install(model)
    return model


def remove_quantization(model: nn.Module) -> nn.Module:
    """`model` as it was before `quantize_model`, in place; itself if it never was quantized."""
    handle = getattr(model, "quantization", None)
    if not isinstance(handle, Quantization):
        return model
    restore_float_weights(model)
    handle.detach(model)
    remove_functions(model)
    open_fast_paths(model)
    for target in find_targets(model):
        model = _replace(model, target.path, target.remove())
    return model


def _by_module(model: nn.Module, targets: list[QuantizationTarget]) -> list[QuantizationTarget]:
    """`targets` in the order of the model's modules."""
    places = {path: place for place, (path, _) in enumerate(model.named_modules())}
    return sorted(targets, key=lambda target: places[target.module_path])


def _rows(
    target: QuantizationTarget, specs: dict[str, QuantizerSpec], low: int, high: int, notes: Mapping[str, str]
) -> list[PlanRow]:
    """The plan's rows for one module: its quantizers, or that it has none."""
    if not target.quantizers:
        return [PlanRow.in_full_precision(target.path, target.kind)]
    rows = []
    for key, (path, role) in target.quantizers.items():
        active = _active(target, path, specs)
        if path in target.on_request and not active:
            continue
        rows.append(PlanRow(path, role, specs[path], active, low, high, target.product(key), notes.get(path, "")))
    return rows


def _active(target: QuantizationTarget, path: str, specs: dict[str, QuantizerSpec]) -> bool:
    spec = specs[path]
    return spec.quantize and spec.bits is not None and target.is_quantized(specs)


def _replace(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put `module` at `path`, and wherever else in `model` the old one stands."""
    if not path:
        return module
    old = model.get_submodule(path)
    if old is module:
        return model
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children would skip repetitions
            if child is old:
                setattr(parent, name, module)
    return model


def _threads_bits(model: nn.Module) -> bool:
    return "num_bits" in inspect.signature(model.forward).parameters
