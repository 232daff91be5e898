"""`profile` by options from a file: ours, or MASE's.

    [passes.profile_statistics]
    by = "type"
    weights.match = ["linear"]                              # MASE: target_weight_nodes
    weights.statistics = {variance_precise = {}}            # MASE: [passes.profile_statistics.weight_statistics]
    activations.match = ["relu"]                            # MASE: target_activation_nodes
    activations.statistics = {range_quantile = {quantile = 0.97}}
    num_samples = 32                                        # of made-up batches
    points = true                                           # also quantizers, with their errors

>>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
>>> options = {"by": "type", "target_weight_nodes": ["linear"], "weight_statistics": {"abs_mean": {"dims": "all"}}}
>>> [(row.module, row.tensor, list(row.statistics)) for row in profile_graph(model, options)[0]]
[('0', 'weight', ['abs_mean']), ('0', 'bias', ['abs_mean'])]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from torch import nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph.profile import ProfileRow, profile
from fairseq.graph.selection import WAYS

# what each kind of tensor is called: ours, and MASE's words for the modules and the statistics
KINDS = {
    "weights": ("target_weight_nodes", "weight_statistics"),
    "activations": ("target_activation_nodes", "activation_statistics"),
}
ALIASES = {"regex_name": "regex"}
IGNORED = ("input_generator", "profile_output_activation")
PROFILE = "profile_statistics"  # name of the pass
KNOWN = ("by", "num_samples", "points", *KINDS, *(word for words in KINDS.values() for word in words), *IGNORED)


def profile_graph(
    model: nn.Module,
    options: Mapping[str, Any],
    batches: Sequence[Any] = (),
    run: Optional[Callable[[nn.Module, Any], Any]] = None,
) -> tuple[list[ProfileRow], list[str]]:
    """Rows of a profile, weights first, and notes on options without an effect.

    Args:
        batches: to run the model on.
        run: as `profile` takes it.

    Raises:
        ConfigError: an unknown option or statistic, a pattern that matches nothing, activations without batches.
    """
    for key in options:
        if key not in KNOWN:
            raise ConfigError(unknown("option", str(key), KNOWN, where="profile_statistics"))
    way = str(options.get("by", "type"))
    way = ALIASES.get(way, way)
    if way not in WAYS:
        raise ConfigError(unknown("way to select", way, [*WAYS, *ALIASES], where="profile_statistics.by"))
    unused = [key for key in IGNORED if key in options]
    notes = [f"profile_statistics: no effect here: {', '.join(unused)}"] if unused else []
    rows: list[ProfileRow] = []
    wanted = {kind: _wanted(options, kind) for kind in KINDS}
    points = options.get("points", False)
    if not isinstance(points, bool):
        raise ConfigError(f"profile_statistics.points: must be true or false, got {points!r}")
    if not points and not any(statistics for _, statistics in wanted.values()):
        raise ConfigError("profile_statistics: names no statistics; give weights.statistics or activations.statistics")
    for kind, (match, statistics) in wanted.items():
        if not statistics:
            continue
        if kind == "activations" and not batches:
            raise ConfigError("profile_statistics: activations need inputs, such as inputs = ['input:float32[8,16]']")
        given: dict[str, Any] = {each: statistics if each == kind else {} for each in KINDS}
        found = batches if kind == "activations" else ()
        rows += profile(model, found, by=way, match=match, points=False, run=run, **given)
    if points:
        nothing: dict[str, Any] = {kind: {} for kind in KINDS}
        rows += profile(model, batches, run=run, **nothing)
    return rows, notes


def _wanted(options: Mapping[str, Any], kind: str) -> tuple[Optional[list[str]], dict[str, dict[str, Any]]]:
    """Which modules (None: all), and statistics with their settings."""
    nodes, word = KINDS[kind]
    own = options.get(kind) or {}
    if not isinstance(own, Mapping) or any(key not in ("match", "statistics") for key in own):
        raise ConfigError(f"profile_statistics.{kind}: needs a table of match and statistics, got {own!r}")
    match = own.get("match", options.get(nodes))
    match = None if match in (None, "NA") else [match] if isinstance(match, str) else [str(each) for each in match]
    statistics = own.get("statistics", options.get(word)) or {}
    if isinstance(statistics, (list, tuple)):
        statistics = {str(name): {} for name in statistics}
    if not isinstance(statistics, Mapping):
        raise ConfigError(f"profile_statistics.{kind}: statistics need a table or a list of names, got {statistics!r}")
    return match, {str(name): _settings(str(name), settings) for name, settings in statistics.items()}


def _settings(name: str, settings: Any) -> dict[str, Any]:
    """Of one statistic, without MASE's `device` and `dims = "all"`, which are always so here."""
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"profile_statistics: {name}: needs a table of settings, got {settings!r}")
    found = dict(settings or {})
    found.pop("device", None)
    if found.pop("dims", "all") != "all":
        raise ConfigError(f"profile_statistics: {name}: dims: only 'all' is known: one number for each tensor")
    return found
