"""`prune`: set the least important weights to zero, and keep them there through training and quantization.

    graph, result = prune(model, 0.5, inputs=inputs)                              # half of each Linear and convolution
    graph, result = prune(graph, 0.3, "encoder\\\\..*", by="regex", scope="global", granularity="row")
    graph, result = prune(graph, {"linear": 0.5, "conv2d": 0.2}, method="random", seed=3)
    graph, result = prune(graph, granularity="2:4")                               # two of four neighbours stay
    remove(model)                                                                 # masks away, zeros stay

Of n units, which share a `scope`, round(sparsity n) become zero: weights as they are now, of equal ones the first.
Masks are buffers `<weight>_mask`, saved with the model (`fairseq.graph.masks`); `fairseq.graph.restore` makes a new
model take such a file. Pruning again adds to what is pruned.

l1: magnitudes, of a row or a head their mean. movement: Sanh et al., arXiv:2005.07683, equation 2: what moves towards
zero in training goes first; `Movement` adds up its scores.

>>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
>>> graph, result = prune(model, 0.25, inputs=torch.randn(3, 8))
>>> [(row["weight"], row["units"], row["pruned"]) for row in result.details]
[('0.weight', 32, 8), ('2.weight', 8, 2)]
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph import masks
from fairseq.graph.diff import described
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.importance import keep_n_of_m, lowest, magnitude, means
from fairseq.graph.passes.registry import PASSES, graph_of, options_of
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import is_of_type, select
from fairseq.graph.passes.units import HeadGroup, Weight, heads_of, weights_of
from fairseq.graph.restoring import restore as restore
from fairseq.graph.tracing import Inputs

SCOPES, GRANULARITIES, METHODS = ("local", "global"), ("element", "row", "head"), ("l1", "random", "movement")
ALIASES = {"elementwise": "element", "l1-norm": "l1"}  # MASE's words
USUAL = ("linear", "conv1d", "conv2d", "conv3d", "convtranspose1d", "convtranspose2d", "convtranspose3d")
Chosen = tuple[list[str], float]  # paths of modules, and their sparsity


def prune(
    model: Union[ModelGraph, nn.Module],
    sparsity: Union[float, Mapping[str, float], None] = None,
    pattern: Optional[str] = None,
    *,
    by: str = "type",
    scope: str = "local",
    granularity: str = "element",
    method: str = "l1",
    scores: Optional[Mapping[str, Tensor]] = None,
    seed: int = 1,
    inputs: Inputs = None,
) -> tuple[ModelGraph, Result]:
    """Prune weights of `model` in place.

    Args:
        model: a graph, or a model, which is traced with `inputs`.
        sparsity: the share of units that become zero, 0 to 1; or one for each pattern, a later one in place of an
            earlier one; None with n:m.
        pattern: which modules (`select.py`); Linear layers and convolutions, or with `head` attentions, if None.
        by: what patterns are: `type`, `name` or `regex`.
        scope: `local`: so many of each weight; `global`: of all together.
        granularity: `element`, `row` (all weights of an output), `head`, or `n:m`: of m neighbours, which feed one
            output, n stay.
        method: `l1`, `random` or `movement`, which needs `scores`.
        scores: path of a weight -> the importance of each element.
        seed: of `random`.

    Returns:
        The new graph, and what has changed; its `details` are a row for each weight.

    Raises:
        ConfigError: a value that cannot be used, a pattern that matches nothing, less than is pruned already.
    """
    graph = graph_of(model, inputs)
    granularity, method = ALIASES.get(granularity, granularity), ALIASES.get(method, method)
    for value, known, word in ((scope, SCOPES, "scope"), (method, METHODS, "method")):
        if value not in known:
            raise ConfigError(unknown(word, str(value), known, where="prune"))
    pattern_of_m = n_of_m(granularity)
    if pattern_of_m is not None and sparsity is None:
        sparsity = 1 - pattern_of_m[0] / pattern_of_m[1]
    chosen = _chosen(graph.model, sparsity, pattern, by, granularity)
    if pattern_of_m is not None and any(share != 1 - pattern_of_m[0] / pattern_of_m[1] for _, share in chosen):
        raise ConfigError(f"granularity {granularity} decides the sparsity; leave sparsity away")
    if method != "movement" and scores is not None:
        raise ConfigError(f"scores have no effect on method {method}; use method movement")
    importance = _Importance(method, scores, seed)
    before = described(graph)
    found: list[tuple[Weight, Tensor]] = []
    units_of: Any = heads_of if granularity == "head" else weights_of
    for units, share in _once([(units_of(graph.model, paths), share) for paths, share in chosen]):
        if pattern_of_m is not None:
            found += [_n_m_mask(weight, importance, *pattern_of_m) for weight in units]
        elif granularity == "head":
            found += _head_masks(units, importance, share, scope)
        else:
            found += _masks(units, importance, share, scope, granularity)
    found = [(weight, _and_before(weight, kept)) for weight, kept in found]
    for weight, kept in found:
        masks.attach(graph.model, weight.owner, weight.name, kept)
    details = tuple(_detail(weight, kept) for weight, kept in found)
    return changed_in_place(before, graph, graph.model, "prune", details=details)


@PASSES.register("prune")
@options_of(prune)
def prune_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Set the least important weights to zero, and keep them there.

    MASE's options are understood, too: they stand under `weight`, and under `activation` for `prune_activations`.
    """
    if "weight" in options:
        if options.get("activation"):
            raise ConfigError(
                "prune: activation: this pass prunes weights only; run the pass prune_activations as well"
            )
        options = {
            **options.get("weight", {}),
            **{k: v for k, v in options.items() if k not in ("weight", "activation")},
        }
    known = ("sparsity", "pattern", "by", "scope", "granularity", "method", "scores", "seed")
    for key in options:
        if key not in known:
            raise ConfigError(unknown("option", str(key), known, where="prune"))
    return prune(graph, **options)


def remove(model: Union[ModelGraph, nn.Module]) -> list[str]:
    """Take all masks off; pruned weights stay zero until something trains them. Paths of the weights."""
    return masks.detach(model.model if isinstance(model, ModelGraph) else model)


class Movement:
    """Scores for `method="movement"`: after each `backward()`, `add()`; -sum of weight * gradient by element.

    Args:
        model: the model that is trained.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.scores: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self) -> None:
        """Take the gradients of this step into account."""
        for path, parameter in self.model.named_parameters():
            if parameter.grad is not None and parameter.dim() > 1:
                step = -(parameter.detach() * parameter.grad).float()
                self.scores[path] = self.scores[path] + step if path in self.scores else step


class _Importance:
    """Scores of single elements: random ones are drawn weight by weight, on the CPU, so that they do not depend on the
    device.
    """

    def __init__(self, method: str, scores: Optional[Mapping[str, Tensor]], seed: int):
        if method == "movement" and scores is None:
            raise ConfigError("method movement needs scores: Movement(model).scores, added up over training")
        self.method, self.scores = method, scores
        self.generator = torch.Generator().manual_seed(seed)

    def of(self, weight: Weight) -> Tensor:
        """The elements'; those that are pruned already come first."""
        value = weight.value
        if self.method == "l1":
            scores = magnitude(value)
        elif self.method == "random":
            scores = torch.rand(value.shape, generator=self.generator).to(value.device)
        else:
            given = (self.scores or {}).get(weight.full_path)
            if given is None or given.shape != value.shape:
                raise ConfigError(f"scores: {weight.full_path!r} needs a tensor of shape {list(value.shape)}")
            scores = given.detach().float().to(value.device)
        mask = weight.owner._buffers.get(weight.name + masks.SUFFIX)
        return scores if mask is None else scores.masked_fill(~mask, -torch.inf)


def _chosen(model: nn.Module, sparsity: Any, pattern: Optional[str], by: str, granularity: str) -> list[Chosen]:
    if isinstance(sparsity, Mapping):
        if pattern is not None:
            raise ConfigError("sparsity names patterns itself; leave pattern away")
        return [(select(model, str(key), by), share_of(value)) for key, value in sparsity.items()]
    share = share_of(sparsity)
    if pattern is not None:
        return [(select(model, pattern, by), share)]
    paths = [path for path, module in model.named_modules() if any(is_of_type(module, word) for word in USUAL)]
    return [([path for path, _ in model.named_modules()] if granularity == "head" else paths, share)]


def _once(groups: list[tuple[list[Any], float]]) -> list[tuple[list[Any], float]]:
    """Each unit in the last group that has it."""
    later: set[Any] = set()
    found = []
    for units, share in reversed(groups):
        left = [unit for unit in units if unit.key not in later]
        later.update(unit.key for unit in units)
        if left:
            found.append((left, share))
    return found[::-1]


def _and_before(weight: Weight, kept: Tensor) -> Tensor:
    """`kept` without what is pruned already."""
    mask = weight.owner._buffers.get(weight.name + masks.SUFFIX)
    return kept if mask is None else kept & mask


def share_of(value: Any) -> float:
    """A sparsity, from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigError(f"sparsity: must be a share from 0 to 1, got {value!r}")
    return float(value)


def n_of_m(granularity: str) -> Optional[tuple[int, int]]:
    """n and m of a granularity `n:m`; None of another."""
    found = re.fullmatch(r"(\d+):(\d+)", granularity)
    if found is None:
        if granularity not in GRANULARITIES:
            raise ConfigError(unknown("granularity", granularity, [*GRANULARITIES, "2:4"], where="prune"))
        return None
    n, m = int(found[1]), int(found[2])
    if not 0 < n < m:
        raise ConfigError(f"granularity {granularity}: of m neighbours n stay, so n must be less than m and at least 1")
    return n, m


def _n_m_mask(weight: Weight, importance: _Importance, n: int, m: int) -> tuple[Weight, Tensor]:
    scores = weight.by_output(importance.of(weight)).movedim(1, -1)  # (out, in, *S) -> (out, *S, in)
    if scores.shape[-1] % m:
        raise ConfigError(
            f"granularity {n}:{m}: {weight.full_path!r} has {scores.shape[-1]} inputs, no multiple of {m}"
        )
    return weight, weight.by_output(keep_n_of_m(scores, n, m).movedim(-1, 1)).contiguous()


def _masks(
    weights: list[Weight], importance: _Importance, share: float, scope: str, granularity: str
) -> list[tuple[Weight, Tensor]]:
    by_row = granularity == "row"
    each = [importance.of(weight) for weight in weights]
    rows = [weight.by_output(scores) if by_row else scores for weight, scores in zip(weights, each, strict=True)]
    vectors = [means(scores.flatten(1)) if by_row else scores.reshape(-1) for scores in rows]
    names = [weight.full_path for weight in weights]
    found = []
    for weight, kept in zip(weights, _kept(vectors, names, share, scope), strict=True):
        shape = (weight.by_output(weight.value) if by_row else weight.value).shape
        mask = kept.reshape(-1, *[1] * (len(shape) - 1)).expand(shape) if by_row else kept.reshape(shape)
        mask = weight.by_output(mask) if by_row else mask
        found.append((weight, mask.contiguous()))
    return found


def _head_masks(
    groups: list[HeadGroup], importance: _Importance, share: float, scope: str
) -> list[tuple[Weight, Tensor]]:
    vectors = []
    for group in groups:
        weights = [*(weight for weight, _ in group.by_row), group.output]
        vectors.append(group.scores({weight.full_path: importance.of(weight) for weight in weights}))
    kept = _kept(vectors, [group.path for group in groups], share, scope)
    return [
        (weight, mask.contiguous())
        for group, heads in zip(groups, kept, strict=True)
        for weight, mask in group.masks(heads)
    ]


def _kept(vectors: list[Tensor], names: Iterable[str], share: float, scope: str) -> list[Tensor]:
    """For each vector of scores where its units stay."""
    if scope == "global":
        sizes = [vector.numel() for vector in vectors]
        together = torch.cat([vector.to(vectors[0].device) for vector in vectors])
        return list(_keep(together, share, "all weights together").split(sizes))
    return [_keep(vector, share, name) for vector, name in zip(vectors, names, strict=True)]


def _keep(scores: Tensor, share: float, name: str) -> Tensor:
    count = round(share * scores.numel())
    already = int((scores == -torch.inf).count_nonzero())
    if count < already:
        raise ConfigError(
            f"{name}: {already} of {scores.numel()} units are pruned already, more than sparsity {share:g} asks for; "
            "call prune.remove first, or ask for more"
        )
    return ~lowest(scores, count)


def _detail(weight: Weight, kept: Tensor) -> dict[str, Any]:
    pruned = kept.numel() - int(kept.count_nonzero())
    return {
        "weight": weight.full_path, "units": kept.numel(), "pruned": pruned, "sparsity": round(pruned / kept.numel(), 6)
    }  # fmt: skip
