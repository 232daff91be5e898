"""Low-rank adapters of layers (LoRA, Hu et al., arXiv:2106.09685): modules beside a weight, which stays as it is.

    y = layer(x) + (alpha / rank) B A dropout(x)                    equation 3; B is zero at first, so y is layer(x)

The layer keeps its class, its parameters and their keys; beside them stand `lora.A` and `lora.B`. What the adapter adds
is added by a hook, so that a layer may be quantized, pruned, traced and copied before or after: its own product is
quantized, the adapter's are in the layer's precision. `lora._extra_state` holds the settings, as the bytes of JSON, so
that a state dict is enough to make the same adapters again (`restore`).

>>> layer = nn.Linear(4, 3)
>>> adapter = attach(layer, Settings(rank=2, alpha=4.0), torch.Generator().manual_seed(1))
>>> list(layer.state_dict()), adapter_parts(layer)
(['weight', 'bias', 'lora.A', 'lora.B', 'lora._extra_state'], ['lora: rank 2, alpha 4'])
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fairseq.errors import ConfigError
from fairseq.graph.trainability import freeze
from fairseq.quantization.plan.target import QuantizationTarget
from fairseq.quantization.plan.targets import (
    ConvolutionTarget,
    EmbeddingTarget,
    LinearTarget,
    TransposedLinearTarget,
    target_of,
)
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget

NAME = "lora"
SUPPORTED = "Linear, Conv1d/2d/3d, Embedding and transformers' Conv1D"


@dataclass(frozen=True)
class Settings:
    """Of one adapter.

    Attributes:
        rank: features between A and B.
        alpha: its output is multiplied by alpha / rank.
        dropout: probability with which an element of the adapter's input is zero in training.
        trainable: patterns of other parameters that train (`fairseq.graph.trainability`).
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    trainable: tuple[str, ...] = ()


class Adapter(nn.Module):
    """B A of one layer; a kind of layer is a subclass.

    Args:
        layer: whose output it adds to; it is not kept.
        settings: its own.
        generator: on the CPU, so that first weights do not depend on the device.

    Attributes:
        A: (rank, in), of a convolution (rank, in, *kernel), of an embedding (rank, rows).
        B: (out, rank).
    """

    def __init__(self, layer: Any, settings: Settings, generator: torch.Generator):
        super().__init__()
        self.settings = settings
        shape, outputs = self.shapes(layer)
        first, second = torch.empty(settings.rank, *shape), torch.zeros(outputs, settings.rank)
        self.start(first, second, generator)
        weight = layer.weight
        self.A, self.B = (nn.Parameter(value.to(weight.device, weight.dtype)) for value in (first, second))

    def shapes(self, layer: Any) -> tuple[tuple[int, ...], int]:
        """Axes of A behind the first, and features of the output."""
        outputs, *rest = layer.weight.shape
        return tuple(rest), outputs

    def start(self, first: Tensor, second: Tensor, generator: torch.Generator) -> None:
        """A uniform within 1 / sqrt(its inputs), B zero."""
        first.uniform_(-1, 1, generator=generator).div_(math.sqrt(first[0].numel()))

    @property
    def scale(self) -> float:
        return self.settings.alpha / self.settings.rank

    def change(self, layer: Any, x: Tensor) -> Tensor:
        """What is added to the output of `layer` for its input `x`."""
        x = F.dropout(x, self.settings.dropout, self.training)
        return self.product(layer, x.to(self.A.dtype)) * self.scale

    def product(self, layer: Any, x: Tensor) -> Tensor:
        """B A x."""
        return F.linear(F.linear(x, self.A), self.B)

    def delta(self) -> Tensor:
        """What is added to the weight when both are fused, in its layout."""
        return torch.tensordot(self.B, self.A, 1) * self.scale

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates for an `output` of the layer."""
        return output.numel() // len(self.B) * (self.A.numel() + self.B.numel())

    def get_extra_state(self) -> Tensor:
        text = json.dumps(asdict(self.settings), sort_keys=True)
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        self.settings = read_settings(state)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in asdict(self.settings).items() if value != ())


class TransposedAdapter(Adapter):
    """Of transformers' Conv1D, whose weight is (in, out)."""

    def shapes(self, layer: Any) -> tuple[tuple[int, ...], int]:
        inputs, outputs = layer.weight.shape
        return (inputs,), outputs

    def delta(self) -> Tensor:
        return super().delta().t()


class ConvolutionAdapter(Adapter):
    """A is a convolution like the layer's own, B one whose kernel has size 1."""

    def product(self, layer: Any, x: Tensor) -> Tensor:
        channels = 1 - layer.weight.dim()  # (..., C, *S)
        y = layer._conv_forward(x, self.A, None).movedim(channels, -1)  # (..., *S, rank)
        return F.linear(y, self.B).movedim(-1, channels)


class EmbeddingAdapter(Adapter):
    """A is a table of `rank` columns, at first zero; B is random."""

    def shapes(self, layer: Any) -> tuple[tuple[int, ...], int]:
        rows, features = layer.weight.shape
        return (rows,), features

    def start(self, first: Tensor, second: Tensor, generator: torch.Generator) -> None:
        first.zero_()
        second.normal_(generator=generator)

    def change(self, layer: Any, x: Tensor) -> Tensor:
        rows = F.embedding(x, self.A.t(), layer.padding_idx, None, 2.0, layer.scale_grad_by_freq)
        return F.linear(rows, self.B) * self.scale

    def delta(self) -> Tensor:
        return super().delta().t()


class AddChange:
    """The hook of a layer with an adapter."""

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        adapter = adapter_of(layer)
        if adapter is None:
            return output
        x = args[0] if args else kwargs["input"] if "input" in kwargs else kwargs["x"]
        return output + adapter.change(layer, x).to(output.dtype)


KINDS: dict[type[QuantizationTarget], type[Adapter]] = {
    LinearTarget: Adapter,
    TransposedLinearTarget: TransposedAdapter,
    ConvolutionTarget: ConvolutionAdapter,
    EmbeddingTarget: EmbeddingAdapter,
}


def kind_of(path: str, layer: Any, parent: Optional[nn.Module] = None) -> type[Adapter]:
    """The class of an adapter of `layer`.

    Args:
        parent: what `layer` is a part of.

    Raises:
        ConfigError: it can have none; says why.
    """
    target = target_of(path, layer)
    kind = KINDS.get(type(target)) if target is not None else None  # exactly these: subclasses stand for other layers
    why = ""
    if isinstance(target, UnsupportedTarget):
        why = target.reason
    elif kind is None or isinstance(layer, (nn.EmbeddingBag, nn.modules.conv._ConvTransposeNd)):
        why = f"adapters are for {SUPPORTED}"
    elif isinstance(parent, nn.MultiheadAttention):
        why = "nn.MultiheadAttention uses its weight without calling it"
    elif isinstance(layer, _ConvNd) and layer.groups != 1:
        why = f"it is a convolution of {layer.groups} groups"
    elif getattr(layer, "max_norm", None) is not None:
        why = "its max_norm changes the table in each call"
    elif not isinstance(layer._parameters.get("weight"), nn.Parameter):
        why = "its weight is held as integer codes; restore_float_weights gives it back"
    if why or kind is None:
        raise ConfigError(f"{path or 'the model'!r}, a {type(layer).__name__}, can have no adapter: {why}")
    return kind


def attach(
    layer: nn.Module, settings: Settings, generator: torch.Generator, kind: Optional[type[Adapter]] = None
) -> Adapter:
    """Give `layer` an adapter, which changes no output before it is trained."""
    adapter = (kind or kind_of("", layer))(layer, settings, generator).train(layer.training)
    layer.add_module(NAME, adapter)
    layer.register_forward_hook(AddChange(), with_kwargs=True)
    return adapter


def detach(layer: nn.Module) -> None:
    """Take the adapter of `layer` off."""
    layer._modules.pop(NAME, None)
    for key in [key for key, hook in layer._forward_hooks.items() if isinstance(hook, AddChange)]:
        del layer._forward_hooks[key]
        layer._forward_hooks_with_kwargs.pop(key, None)


def named_adapters(model: nn.Module) -> Iterator[tuple[str, nn.Module, Adapter]]:
    """Path of a layer, the layer, and its adapter."""
    for path, module in model.named_modules():
        adapter = adapter_of(module)
        if adapter is not None:
            yield path, module, adapter


def freeze_others(model: nn.Module) -> None:
    """Let the adapters train, the parameters that any of them names as trainable, and no others."""
    own = [adapter for _, _, adapter in named_adapters(model)]
    freeze(model, own, list(dict.fromkeys(pattern for adapter in own for pattern in adapter.settings.trainable)))


def adapter_of(module: nn.Module) -> Optional[Adapter]:
    """The adapter of a layer; None if it has none."""
    found = module._modules.get(NAME)
    return found if isinstance(found, Adapter) else None


def adapter_parts(module: nn.Module) -> list[str]:
    """A module's adapter in words."""
    adapter = adapter_of(module)
    if adapter is None:
        return []
    return [f"lora: rank {adapter.settings.rank}, alpha {adapter.settings.alpha:g}"]


def read_settings(state: Tensor) -> Settings:
    """The settings that `get_extra_state` has written."""
    given = json.loads(bytes(state.tolist()).decode())
    return Settings(int(given["rank"]), float(given["alpha"]), float(given["dropout"]), tuple(given["trainable"]))


def restore(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Give `model` the adapters that a saved state has, so that `load_state_dict(state)` takes it whole; parameters
    train as they did. Paths of the layers.

    Raises:
        ConfigError: an adapter of a layer that the model does not have, or that has another shape.
    """
    ending = f".{NAME}._extra_state"
    modules = dict(model.named_modules())
    found: list[str] = []
    for key, value in state.items():
        if not f".{key}".endswith(ending):
            continue
        path = f".{key}".removesuffix(ending).lstrip(".")
        settings = read_settings(value)
        found.append(path)
        if path not in modules:
            raise ConfigError(f"the state has an adapter of {path!r}, which the model does not have")
        layer = modules[path]
        adapter = adapter_of(layer)
        if adapter is None or adapter.settings.rank != settings.rank:
            detach(layer)
            adapter = attach(layer, settings, torch.Generator(), kind_of(path, layer))
        adapter.settings = settings
        for name, own in adapter.named_parameters():
            saved = state.get(f"{path}.{NAME}.{name}".lstrip("."))
            if not isinstance(saved, Tensor) or saved.shape != own.shape:
                shape = list(saved.shape) if isinstance(saved, Tensor) else "no tensor"
                raise ConfigError(f"the state's adapter of {path!r}: {name} is {shape}, the model's {list(own.shape)}")
    if found:
        freeze_others(model)
    return found
