"""`verify`: a quantized model does what its plan says, or what does not.

    found = verify(model, batches)
    print(found)            # a table of tensors, one of layers
    found.check()           # VerificationError that names the first failure

The plan is held against the quantizers that the model has, each tensor against the grid of its number format, each
layer's result against a reference that is written from the format's definition (`plain.py`) and torch's float function
(`references.py`), and the model's result with hooks and callbacks against that without. So a quantizer that is
bypassed, switched off or undone by a hook is found, and so are rules that decide nothing, weights off their grid and
masks that no longer hold.

>>> from fairseq.quantization import quantize_model
>>> model = quantize_model(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)), "mxfp8")
>>> print(verify(model, torch.randn(4, 16)).summary())
passed: 4 tensors on their grids, 2 layers equal to their references
>>> model[2].forward = lambda x: nn.functional.linear(x, model[2].weight, model[2].bias)
>>> verify(model, torch.randn(4, 16)).failures[0]
'2: bypassed, its quantizer 2.weight rounds nothing'
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, VerificationError
from fairseq.graph.masks import broken_masks, named_masks
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.profile import evaluating
from fairseq.graph.verification.bypasses import WeightProducts
from fairseq.graph.verification.distance import coarseness, distance, flat, kept
from fairseq.graph.verification.layers import NOISE, SHARE
from fairseq.graph.verification.plan_checks import plan_failures
from fairseq.graph.verification.result import MaskRow, Verification
from fairseq.graph.verification.watch import watching
from fairseq.quantization.quantized_model import Quantization, call_with, get_quantization
from fairseq.quantization.spec import CACHE, GRADIENT

Run = Callable[[nn.Module, Any], Any]


def verify(
    model: Union[ModelGraph, nn.Module],
    batches: Union[Sequence[Any], Mapping[str, Any], Tensor, None] = None,
    *,
    num_bits: Optional[int] = None,
    run: Optional[Run] = None,
    stored: bool = False,
) -> Verification:
    """Hold a quantized model against its plan.

    Args:
        batches: to run it on: a list of them, or one as a mapping of keyword arguments or a tensor; those of a graph
            are its inputs.
        num_bits: of quantizers that follow; the declared evaluation bits if None.
        run: calls the model on a batch; by default a mapping holds its keyword arguments, a tuple positional ones.
        stored: also fail where a weight itself is off its grid, as those of a model whose weights have been rounded
            for good must not be. While a model is trained its weights are.

    Raises:
        VerificationError: a model without quantizers and masks.
        ConfigError: only parts of the model are quantized, each on its own; names them.
        ConfigError: nothing to run it on.
    """
    if isinstance(model, ModelGraph):
        batches = batches if batches is not None or model.inputs is None else [model.inputs]
        model = model.model
    given = [batches] if isinstance(batches, (Mapping, Tensor)) else list(batches or ())
    broken, quantization = broken_masks(model), get_quantization(model)
    masks = [
        MaskRow(path, mask.numel() - int(mask.count_nonzero()), mask.numel(), path not in broken)
        for path, mask in named_masks(model).items()
    ]
    failures = [f"{path}: its mask no longer holds, values that it prunes are not zero" for path in broken]
    if quantization is None:
        _check_parts(model)
        if not masks:
            raise VerificationError(
                f"the {type(model).__name__} has no quantizers: there is nothing to verify; quantize it first, by "
                "quantize_model or a pass of fairseq.graph"
            )
        return Verification([], [], masks, failures, ["the model has no quantizers"])
    if not given:
        raise ConfigError("verify needs something to run the model on: give batches, or inputs")
    with torch.no_grad(), evaluating(model):
        bits = num_bits or quantization.config.eval_bits
        failures += plan_failures(quantization, model, bits)
        found = _run(model, quantization, given, bits, run or call_with, failures)
    found.masks = masks
    if stored:
        off = [row.quantizer for row in found.tensors if row.stored is False]
        found.failures += [f"{path}: the weight itself is off its grid" for path in off]
    return found


def _check_parts(model: nn.Module) -> None:
    """Refuse a model that holds quantized ones: their plans and bits are their own."""
    parts = [path for path, module in model.named_modules() if get_quantization(module) is not None]
    if parts:
        raise ConfigError(
            f"the {type(model).__name__} holds quantized models, and each is verified by itself: "
            f"{', '.join(map(repr, parts))}; give verify one of them, as model.get_submodule({parts[0]!r}), with "
            "batches of its own inputs"
        )


def _run(
    model: nn.Module, quantization: Quantization, batches: list[Any], bits: Optional[int], run: Run,
    failures: list[str],
) -> Verification:  # fmt: skip
    context, rows = quantization.context, quantization.plan.active
    planned = {row.quantizer for row in rows if row.role not in (CACHE, GRADIENT)}  # a call keeps nothing
    results: dict[str, list[Any]] = {}

    def call_all(name: str, some: list[Any]) -> None:
        with torch.random.fork_rng():
            results[name] = [_result(model, batch, run) for batch in some]

    with context.running_at(bits):
        call_all("plain", batches)
        with watching(model, quantization) as watch:
            call_all("watched", batches)
        watch.conclude(planned, bits)
        traced = WeightProducts(model, watch.layers, planned)
        with traced:
            call_all("traced", batches[:1])
    has_codes = any(layer.integers is not None for layer in watch.layers)
    if not has_codes:  # those of a weight cannot be had without rounding
        with context.full_precision():
            call_all("float", batches)
    tensors = [line for check in watch.tensors.values() for line in check.failures()]
    layers = [layer.row for layer in watch.layers if layer.row.quantizers]
    failures += [*(row.failure for row in layers if row.failure), *traced.failures(), *tensors, *watch.failures]
    failures += _unwatched(results)
    apart = distance(results["plain"], results["watched"])
    effect = None if has_codes else distance(results["float"], results["watched"])
    checks = sorted(watch.tensors.values(), key=lambda check: _place(rows, check.quantizer.path))
    return Verification(
        [check.row() for check in checks], layers, [], failures, _notes(layers, rows), effect, apart
    )  # fmt: skip


def _result(model: nn.Module, batch: Any, run: Run) -> Any:
    """What the model gives, whatever `run` makes of it."""
    seen: list[Any] = []
    if run is call_with:
        return kept(call_with(model, batch))
    handle = model.register_forward_hook(lambda module, args, output: seen.append(flat(output)))
    try:
        run(model, batch)
    finally:
        handle.remove()
    return seen


def _unwatched(results: Mapping[str, list[Any]]) -> list[str]:
    """A failure where nobody looks: fast paths are open then that hooks close."""
    apart = distance(results["plain"], results["watched"])
    effect = distance(results["float"], results["watched"]) if "float" in results else 4e-2
    if apart <= max(SHARE * effect, NOISE * coarseness(results["plain"])):
        return []
    return [
        f"bypassed where nobody looks: without hooks the model's result is {apart:.2g} off that of its quantizers, "
        f"where rounding changes it by {effect:.2g}; a fast path skips them"
    ]


def _notes(layers: list[Any], rows: Any) -> list[str]:
    idle = [row.layer or "the model" for row in layers if not row.calls]
    notes = []
    if idle:
        more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""
        notes.append(f"not called on these batches, so that only weights were looked at: {', '.join(idle[:3])}{more}")
    gradients = sum(row.role == GRADIENT for row in rows)
    if gradients:
        notes.append(f"{gradients} quantizers of gradients are held against the plan only, as nothing was trained")
    return notes


def _place(rows: Any, path: str) -> int:
    return next((index for index, row in enumerate(rows) if row.quantizer == path), len(rows))
