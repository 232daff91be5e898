"""What `quantize_model` says about a model that it cannot quantize, or not in whole.

>>> nothing_to_quantize(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()), [])[:72]
'quantization: nothing to quantize in the model, only 1 Conv2d and 1 ReLU'
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from fairseq.errors import ConfigError, shortened
from fairseq.quantization.plan.target import TARGETS, QuantizationTarget
from fairseq.quantization.plan.targets.functions import UnquantizedFunction

SHOWN = 4  # types, or names of one type


def check_model(model: Any) -> None:
    """Raise ConfigError for what is no module, or one whose parameters do not exist yet."""
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ConfigError(f"quantize_model: {model.__name__} is a class; give a model made from it")
    if not isinstance(model, nn.Module):
        found = f"{shortened(model, 60)} ({type(model).__name__})"
        raise ConfigError(f"quantize_model: the model must be an nn.Module, got {found}")
    for path, module in model.named_modules():
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():  # type: ignore[misc, no-untyped-call]
            raise ConfigError(
                f"quantize_model: {path or 'the model'} ({type(module).__name__}) has no parameters yet; "
                "call the model on a batch first"
            )


def nothing_to_quantize(model: nn.Module, quantizers: Sequence[str]) -> str:
    """The message for a model without an active quantizer.

    Args:
        quantizers: paths of those that it could have.
    """
    if quantizers:
        return (
            f"quantization: nothing to quantize, the rules exclude all {len(quantizers)} quantizers of the model, "
            f"{quantizers[0]} first; name some of them by a rule with quantize: true, or use preset none"
        )
    leaves = Counter(type(module).__name__ for module in model.modules() if not list(module.children()))
    supported = ", ".join(sorted({target.supports for target in TARGETS.values() if target.supports}))
    found = f"only {_listed(leaves)}" if leaves else "it is empty"
    return f"quantization: nothing to quantize in the model, {found}; what can be quantized is {supported}"


def stays_in_full_precision(targets: Sequence[QuantizationTarget]) -> Iterator[str]:
    """Warnings for what multiplies and cannot have quantizers: modules, and calls of functions."""
    functions = [target for target in targets if isinstance(target, UnquantizedFunction)]
    modules = [target for target in targets if not isinstance(target, UnquantizedFunction)]
    if modules:
        yield _of_modules(modules)
    if functions:
        found = [f"{target.path} ({target.reason})" for target in functions[:SHOWN]]
        more = [f"{len(functions) - SHOWN} more"] if len(functions) > SHOWN else []
        yield f"quantization: in full precision, called as functions: {_joined(found + more)}"


def _of_modules(targets: Sequence[QuantizationTarget]) -> str:
    kinds: dict[str, list[str]] = {}
    for target in targets:
        kinds.setdefault(target.kind, []).append(target.path)
    parts = [
        f"{len(paths)} {kind} ({', '.join(paths[:SHOWN])}{', ...' if len(paths) > SHOWN else ''})"
        for kind, paths in kinds.items()
    ]
    return f"quantization: in full precision, because layers of their type cannot be quantized: {_joined(parts)}"


def _listed(counts: Counter[str]) -> str:
    parts = [f"{number} {name}" for name, number in counts.most_common(SHOWN)]
    rest = len(counts) - SHOWN
    return _joined([*parts, f"{rest} other types"] if rest > 0 else parts)


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), *parts[-1:]])
