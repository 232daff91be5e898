"""What is pruned as one: elements, rows, heads of attention.

A `Weight` is one parameter; a `HeadGroup` the four projections of one attention, whose head h has the h-th share of the
rows of query, key and value projection and of the columns of the output projection.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError


class Weight(NamedTuple):
    """A parameter with two axes or more: rows are what one output is computed from."""

    path: str
    owner: nn.Module
    name: str

    @property
    def value(self) -> Tensor:
        return self.owner._parameters[self.name]  # type: ignore[return-value]

    @property
    def full_path(self) -> str:
        return f"{self.path}.{self.name}".lstrip(".")


class HeadGroup(NamedTuple):
    """An attention: weights whose rows belong to heads, (weight, how often the heads stand there), and the output's."""

    path: str
    heads: int
    by_row: tuple[tuple[Weight, int], ...]
    output: Weight

    def scores(self, each: dict[str, Tensor]) -> Tensor:
        """(heads,): the mean of all scores of a head."""
        total = self._by_head(each[self.output.full_path].mT, 1)
        for weight, times in self.by_row:
            total = torch.cat([total, self._by_head(each[weight.full_path], times)], 1)
        return total.mean(1)

    def _by_head(self, scores: Tensor, times: int) -> Tensor:
        return scores.reshape(times, self.heads, -1).transpose(0, 1).reshape(self.heads, -1)

    def masks(self, kept: Tensor) -> list[tuple[Weight, Tensor]]:
        """Masks of all its weights from one of heads."""
        found = []
        for weight, times in self.by_row:
            rows = kept.repeat(times).repeat_interleave(weight.value.shape[0] // (times * self.heads))
            found.append((weight, rows[:, None].expand_as(weight.value)))
        columns = kept.repeat_interleave(self.output.value.shape[1] // self.heads)
        return [*found, (self.output, columns.expand_as(self.output.value))]


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


PROJECTIONS = (("q_proj", "k_proj", "v_proj", "out_proj"), ("q_lin", "k_lin", "v_lin", "out_lin"))


def heads_of(model: nn.Module, paths: Iterable[str]) -> list[HeadGroup]:
    """The attentions among the modules at `paths`.

    Raises:
        ConfigError: there is none whose heads are known.
    """
    found = [group for path in paths if (group := _heads(path, model.get_submodule(path))) is not None]
    if not found:
        raise ConfigError(
            "none of the chosen modules is an attention whose heads are known: nn.MultiheadAttention, or a module with "
            "q_proj, k_proj, v_proj and out_proj, such as by type MultiheadAttention"
        )
    return found


def _heads(path: str, module: Any) -> Optional[HeadGroup]:
    heads = next((getattr(module, name) for name in ("num_heads", "n_heads") if hasattr(module, name)), None)
    if not isinstance(heads, int):
        return None

    def part(name: str) -> Weight:
        return Weight(f"{path}.{name}".lstrip("."), getattr(module, name), "weight")

    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is not None:
            return HeadGroup(path, heads, ((Weight(path, module, "in_proj_weight"), 3),), part("out_proj"))
        own = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return HeadGroup(path, heads, tuple((Weight(path, module, name), 1) for name in own), part("out_proj"))
    for names in PROJECTIONS:
        if all(isinstance(getattr(module, name, None), nn.Linear) for name in names):
            *inner, last = map(part, names)
            return HeadGroup(path, heads, tuple((weight, 1) for weight in inner), last)
    return None
