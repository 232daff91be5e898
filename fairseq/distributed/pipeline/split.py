"""A model cut between its layers: a stage runs the model's own forward, of which it computes its share.

    split = Split(model, [6, 6])
    hidden = split.run(0, None, lambda: criterion(model, sample))           # ends behind layer 5
    loss, sample_size, log = split.run(1, hidden, lambda: criterion(model, sample))

Layers before a stage are passed over, and its first layer sees what was received; behind its last layer the forward
ends. So what comes before and after the layers (embeddings, heads, criterion) is the model's own code, and any model
with fairseq's `layers` can be cut, at any place. What a stage has no use for, such as embeddings in the later ones, is
computed from the tokens, which every process has, and gets no gradient.

Between the layers of an encoder one tensor travels, (T, B, C); between an encoder and a decoder the encoder's result;
between the layers of a decoder the hidden states and that result.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, TrainingError


class _End(BaseException):
    """Ends a forward behind a stage's last layer; no `except Exception` is to stop it."""

    def __init__(self, tensors: tuple[Tensor, ...]):
        super().__init__()
        self.tensors = tensors


class _Running(NamedTuple):
    """What the forward under way computes: layers first .. stop - 1, of what was received."""

    first: int
    stop: int
    received: tuple[Tensor, ...]


class Split:
    """Layers of `model` by stage; `balance` says how many each has.

    Attributes:
        bounds: of each stage, the number of its first layer and of the one behind its last.
        num_encoder_layers: of a model with encoder and decoder; 0 of others.

    Raises:
        ConfigError: a model without layers, a balance that is not that of its layers.
    """

    def __init__(self, model: nn.Module, balance: Sequence[int]):
        self.model = model
        self.stacks = stacks_of(model)
        self.layers = [layer for stack in self.stacks for layer in stack.layers]  # type: ignore[union-attr]
        self.num_encoder_layers = len(self.stacks[0].layers) if len(self.stacks) > 1 else 0  # type: ignore[arg-type]
        check_balance(balance, len(self.layers))
        starts = [sum(balance[:stage]) for stage in range(len(balance) + 1)]
        self.bounds = list(itertools.pairwise(starts))
        self._running: Optional[_Running] = None
        for number, layer in enumerate(self.layers):
            layer.forward = functools.partial(self._layer, number, layer.forward)
        if self.num_encoder_layers:
            encoder = self.stacks[0]
            encoder.forward = functools.partial(self._encoder, encoder.forward)

    def run(self, stage: int, received: tuple[Tensor, ...], forward: Callable[[], Any]) -> Any:
        """What `forward` returns, in the last stage; what travels to the next, in others."""
        first, stop = self.bounds[stage]
        self._running = _Running(first, stop, received)
        try:
            result = forward()
        except _End as end:
            return end.tensors
        finally:
            self._running = None
        if stop < len(self.layers):
            raise TrainingError("pipeline: the model's forward did not run its layers one after the other")
        return result

    def shapes(self, boundary: int, rows: int, lengths: Sequence[int]) -> list[tuple[int, int, int]]:
        """Of what travels to the stage behind `boundary`; `lengths`: of the inputs of encoder and decoder."""
        first = self.bounds[boundary + 1][0]
        widths = [int(stack.layers[0].embed_dim) for stack in self.stacks]  # type: ignore[union-attr, index]
        encoder = (lengths[0], rows, widths[0])
        if not self.num_encoder_layers or first <= self.num_encoder_layers:
            return [encoder]
        return [(lengths[1], rows, widths[1]), encoder]

    def _layer(self, number: int, forward: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        running = self._running
        if running is None or running.first <= number < running.stop:
            return forward(x, *args, **kwargs)
        if number == running.stop and not self._ends_encoder(number):
            raise _End((x, args[0]) if self._is_decoder(number) else (x,))
        if number == running.first - 1 and not self._ends_encoder(number + 1):
            x = running.received[0]
        return (x, None, None) if number >= self.num_encoder_layers and self._has_decoder else x

    def _encoder(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result, running = forward(*args, **kwargs), self._running
        if running is None:
            return result
        if running.stop == self.num_encoder_layers:
            raise _End((result["encoder_out"][0],))
        memory = self._received_memory(running)
        return result if memory is None else {**result, "encoder_out": [memory]}

    @property
    def _has_decoder(self) -> bool:
        return bool(self.num_encoder_layers) or _is_decoder(self.stacks[0])

    def _is_decoder(self, number: int) -> bool:
        return bool(self.num_encoder_layers) and number >= self.num_encoder_layers

    def _ends_encoder(self, number: int) -> bool:
        """Whether a boundary before layer `number` is the one between encoder and decoder."""
        return bool(self.num_encoder_layers) and number == self.num_encoder_layers

    def _received_memory(self, running: _Running) -> Optional[Tensor]:
        """The encoder's result, where it was received."""
        if not self.num_encoder_layers or running.first < self.num_encoder_layers:
            return None
        return running.received[-1]


def stacks_of(model: nn.Module) -> list[nn.Module]:
    """The encoder and decoder of a model, in the order in which they run; each has `layers`."""
    found = [module for module in model.modules() if _is_stack(module)]
    if not 1 <= len(found) <= 2:
        raise ConfigError(
            f"pipeline_model_parallel: {type(model).__name__} has {len(found)} stacks of layers that could be spread; "
            "models with an encoder, a decoder, or one of each can be"
        )
    return found


def _is_stack(module: nn.Module) -> bool:
    layers = getattr(module, "layers", None)
    return isinstance(layers, nn.ModuleList) and len(layers) > 0 and hasattr(module, "forward_embedding")


def _is_decoder(stack: nn.Module) -> bool:
    return hasattr(stack, "output_layer")


def check_balance(balance: Sequence[int], num_layers: int) -> None:
    """ConfigError where `balance` is not one of so many layers."""
    text = f"pipeline_balance={','.join(map(str, balance))}"
    if len(balance) < 2:
        raise ConfigError(f"{text}: a pipeline has at least two stages, as in pipeline_balance=6,6")
    if len(balance) > num_layers:
        raise ConfigError(f"{text} has {len(balance)} stages, but the model has {num_layers} layers")
    if any(count < 1 for count in balance) or sum(balance) != num_layers:
        raise ConfigError(
            f"{text} makes {sum(balance)} layers, but the model has {num_layers}; every stage has at least one"
        )


def parameter_stages(split: Split) -> Iterator[tuple[str, nn.Parameter, list[int]]]:
    """Every parameter with its first name and the stages that may compute with it: several of one that is shared."""
    stages: dict[int, tuple[str, nn.Parameter, list[int]]] = {}
    for name, parameter in split.model.named_parameters(remove_duplicate=False):
        kept = stages.setdefault(id(parameter), (name, parameter, []))
        stage = stage_of(split, name)
        if stage not in kept[2]:
            kept[2].append(stage)
    yield from stages.values()


def stage_of(split: Split, name: str) -> int:
    """The stage that computes with what is called `name`: before its stack's layers, in one, or behind."""
    paths = {module: path for path, module in split.model.named_modules()}
    of_layer = {layer: stage for stage, (a, b) in enumerate(split.bounds) for layer in split.layers[a:b]}
    for stack in split.stacks:
        prefix = f"{paths[stack]}." if paths[stack] else ""
        if not name.startswith(prefix):
            continue
        own = list(stack.layers)  # type: ignore[arg-type]
        rest = name[len(prefix) :]
        if rest.startswith("layers."):
            return of_layer[own[int(rest.split(".")[1])]]
        if rest.split(".")[0] in _BEFORE:
            return of_layer[own[0]]
        if stack is split.stacks[0] and split.num_encoder_layers:
            return of_layer[own[-1]]
    return len(split.bounds) - 1


_BEFORE = ("embed_tokens", "embed_positions", "layernorm_embedding", "project_in_dim", "quant_noise", "version")


def as_sent(tensors: Sequence[Tensor], shapes: Sequence[tuple[int, int, int]]) -> tuple[Tensor, ...]:
    """Tensors (T, B, C) in fp32 with as many rows as every micro-batch has: the rest is zero."""
    sent = []
    for x, shape in zip(tensors, shapes, strict=True):
        if (x.shape[0], x.shape[2]) != (shape[0], shape[2]):
            raise TrainingError(f"pipeline: a stage ends in a tensor {tuple(x.shape)}, expected (T, B, C) = {shape}")
        y = x.float()
        y = torch.nn.functional.pad(y, (0, 0, 0, shape[1] - x.shape[1])) if x.shape[1] < shape[1] else y
        sent.append(y)
    return tuple(sent)
