"""What is pruned as one: elements, rows, heads of attention.

A `Weight` is one parameter; a `HeadGroup` the projections of one attention, whose head h has the h-th share of the rows
of query, key and value projection, which may be one weight, and of the columns of the output projection.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from fairseq.errors import ConfigError
from fairseq.graph.passes.importance import means
from fairseq.graph.passes.select import TRANSPOSED


class Weight(NamedTuple):
    """A parameter with two axes or more: rows are what one output is computed from."""

    path: str
    owner: nn.Module
    name: str

    @property
    def value(self) -> Tensor:
        return self.owner._parameters[self.name]  # type: ignore[return-value]

    @property
    def key(self) -> int:
        """Equal for names of one parameter."""
        return id(self.value)

    @property
    def full_path(self) -> str:
        return f"{self.path}.{self.name}".lstrip(".")

    def by_output(self, value: Tensor) -> Tensor:
        """A tensor of the weight's shape with outputs on its first axis; undone by itself.

        Raises:
            ConfigError: outputs stand on no axis, in a transposed convolution of several groups.
        """
        if isinstance(self.owner, _ConvTransposeNd) and self.owner.groups > 1:
            raise ConfigError(
                f"{self.full_path!r} has no axis of outputs: a transposed convolution of {self.owner.groups} groups; "
                "prune its elements"
            )
        transposed = isinstance(self.owner, _ConvTransposeNd) or type(self.owner).__name__ in TRANSPOSED
        return value.transpose(0, 1) if transposed else value


class HeadGroup(NamedTuple):
    """An attention: weights whose rows belong to heads, (weight, how often the heads stand there), and the output's."""

    path: str
    heads: int
    by_row: tuple[tuple[Weight, int], ...]
    output: Weight

    @property
    def key(self) -> str:
        return self.path

    def scores(self, each: dict[str, Tensor]) -> Tensor:
        """(heads,): the mean of all scores of a head."""
        total = self._by_head(self.output.by_output(each[self.output.full_path]).mT, 1)
        for weight, times in self.by_row:
            total = torch.cat([total, self._by_head(weight.by_output(each[weight.full_path]), times)], 1)
        return means(total)

    def _by_head(self, scores: Tensor, times: int) -> Tensor:
        return scores.reshape(times, self.heads, -1).transpose(0, 1).reshape(self.heads, -1)

    def masks(self, kept: Tensor) -> list[tuple[Weight, Tensor]]:
        """Masks of all its weights from one of heads."""
        found = []
        for weight, times in self.by_row:
            value = weight.by_output(weight.value)
            rows = kept.repeat(times).repeat_interleave(len(value) // (times * self.heads))
            found.append((weight, weight.by_output(rows[:, None].expand_as(value))))
        value = self.output.by_output(self.output.value)
        columns = kept.repeat_interleave(value.shape[1] // self.heads)
        return [*found, (self.output, self.output.by_output(columns.expand_as(value)))]


def weights_of(model: nn.Module, paths: Iterable[str]) -> list[Weight]:
    """The weights of modules, a shared one once: parameters named weight, with two axes or more."""
    found: dict[int, Weight] = {}
    for path in paths:
        module = model.get_submodule(path)
        for name, parameter in module._parameters.items():
            if parameter is not None and "weight" in name and parameter.dim() > 1:
                found.setdefault(id(parameter), Weight(path, module, name))
        if isinstance(module, nn.MultiheadAttention):
            found.setdefault(
                id(module.out_proj.weight), Weight(f"{path}.out_proj".lstrip("."), module.out_proj, "weight")
            )
    if not found:
        raise ConfigError("none of the chosen modules has a weight of two axes or more to prune")
    return list(found.values())


# names of the layers for query, key, value and output; what stands behind a dot is a part of the parent
PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),  # DistilBERT of transformers
    ("query", "key", "value", ".output.dense"),  # BERT and RoBERTa of transformers
)
FUSED = ("c_attn", "c_proj")  # GPT-2 of transformers: one layer for query, key and value
HEADS = ("num_heads", "n_heads", "num_attention_heads")


def heads_of(model: nn.Module, paths: Iterable[str]) -> list[HeadGroup]:
    """The attentions among the modules at `paths`.

    Raises:
        ConfigError: there is none whose heads are known.
    """
    found = [group for path in paths if (group := _heads(model, path)) is not None]
    if not found:
        raise ConfigError(
            "none of the chosen modules is an attention whose heads are known: nn.MultiheadAttention, a module with "
            "q_proj, k_proj, v_proj and out_proj, such as by type MultiheadAttention, or one of transformers' BERT, "
            "RoBERTa, DistilBERT or GPT-2, such as by type BertSelfAttention or GPT2Attention"
        )
    return found


def _heads(model: nn.Module, path: str) -> Optional[HeadGroup]:
    module: Any = model.get_submodule(path)
    heads = next((getattr(module, name) for name in HEADS if hasattr(module, name)), None)
    if not isinstance(heads, int):
        return None
    parent = path.rpartition(".")[0]

    def part(name: str) -> Weight:
        place = f"{parent}{name}" if name.startswith(".") else f"{path}.{name}"
        return Weight(place.lstrip("."), model.get_submodule(place.lstrip(".")), "weight")

    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is not None:
            return HeadGroup(path, heads, ((Weight(path, module, "in_proj_weight"), 3),), part("out_proj"))
        own = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return HeadGroup(path, heads, tuple((Weight(path, module, name), 1) for name in own), part("out_proj"))
    if all(type(getattr(module, name, None)).__name__ in TRANSPOSED for name in FUSED):
        if hasattr(module, "q_attn"):
            return None  # cross-attention: c_attn is of key and value there
        return HeadGroup(path, heads, ((part(FUSED[0]), 3),), part(FUSED[1]))
    for names in PROJECTIONS:
        if all(_is_linear(model, module, parent, name) for name in names):
            *inner, last = map(part, names)
            return HeadGroup(path, heads, tuple((weight, 1) for weight in inner), last)
    return None


def _is_linear(model: nn.Module, module: nn.Module, parent: str, name: str) -> bool:
    if not name.startswith("."):
        return isinstance(getattr(module, name, None), nn.Linear)
    try:
        return isinstance(model.get_submodule(f"{parent}{name}".lstrip(".")), nn.Linear)
    except AttributeError:
        return False
