"""The best trial as files that the commands take: best.yaml and best.toml.

fairseq-hydra-train --config-dir OUT --config-name best
fairseq-graph transform --config OUT/best.toml
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf

from fairseq.graph.config.files import write_yaml
from fairseq.studies.files import replace_file
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.precision import Precision
from fairseq.studies.search.spaces import Assignment
from fairseq.studies.search.words import toml_table, toml_value

YAML, TOML = "best.yaml", "best.toml"
PATHS = (
    ("task", "data"),
    ("checkpoint", "restore_file"),
    ("checkpoint", "finetune_from_model"),
    ("common", "user_dir"),
)
NOT_KEPT = (("checkpoint", "save_dir"),)  # of this machine's moment


def changed_settings(cfg: Any) -> dict[str, dict[str, Any]]:
    """The settings of a composed config that differ from defaults, by group; paths from here are made absolute."""
    from fairseq.dataclass.typed import typed_config
    from fairseq.dataclass.utils import to_container

    values: dict[str, Any] = to_container(cfg)
    chosen = {group: {"_name": own["_name"]} for group, own in values.items() if _name(own)}
    typed = typed_config(chosen)
    defaults: dict[str, Any] = {group: _defaults(typed._get_node(group), cfg) for group in typed if group in values}
    found: dict[str, dict[str, Any]] = {}
    for group, own in values.items():
        if not isinstance(own, Mapping):
            continue
        before = defaults.get(group) or {}
        kept = {
            key: _absolute((group, key), value)
            for key, value in own.items()
            if (key == "_name" and value is not None) or (value != before.get(key) and (group, key) not in NOT_KEPT)
        }
        if (kept and kept != {"_name": before.get("_name")}) or _name(own):
            found[group] = kept
    return {group: own for group, own in found.items() if own}


def _defaults(group: Any, cfg: Any) -> dict[str, Any]:
    """Default values of a group; of those that follow another key, what that key is in `cfg`."""
    if not isinstance(group, DictConfig) or group._is_none() or group._is_missing():
        return {}
    found: dict[str, Any] = OmegaConf.to_container(group, resolve=False)  # type: ignore[assignment]
    for key, value in found.items():
        if isinstance(value, str) and (follows := re.fullmatch(r"\$\{([\w.]+)\}", value)):
            other = OmegaConf.select(cfg, follows[1])
            found[key] = OmegaConf.to_container(other) if OmegaConf.is_config(other) else other
    return found


def _name(own: Any) -> bool:
    return isinstance(own, Mapping) and own.get("_name") is not None


def _absolute(key: tuple[str, str], value: Any) -> Any:
    if key in PATHS and isinstance(value, str) and not Path(value).is_absolute() and Path(value).exists():
        return str(Path(value).absolute())
    return value


def write_best_yaml(config: SearchConfig, words: Sequence[str], path: Path, head: Sequence[str]) -> None:
    """The configuration of a run with these words.

    Args:
        head: lines of comment.
    """
    from fairseq.dataclass.initialize import compose

    cfg = compose(config.config_name, config.config_dir, [*config.common, *words])
    text = write_yaml(changed_settings(cfg))
    comment = "".join(f"# {line}\n" for line in head)
    replace_file(path, f"# @package _group_\n{comment}\n{text}")


def write_best_toml(
    assignment: Assignment,
    precision: Optional[Precision],
    path: Path,
    head: Sequence[str],
    checkpoint: Optional[Path],
) -> None:
    """The passes of the best trial, and the checkpoint that they were run on.

    Formats that were searched by layer are those of the pass `quantize`.

    Args:
        checkpoint: None: it is to be named on the command line.
    """
    passes: dict[str, Mapping[str, Any]] = dict(assignment.passes)
    if precision is not None:
        quantize = precision.quantize_pass(assignment.values)
        passes |= {} if quantize is None else {"quantize": quantize}
    lines = [*(f"# {line}" for line in head), ""]
    if checkpoint is not None:
        lines.append(f"model = {toml_value(str(checkpoint.absolute()))}\n")
    if not passes:
        lines.append("# the best trial has no passes: they would report what its model is\n")
        passes = {"report_graph": {}}
    lines += [toml_table(f"passes.{name}", options) + "\n" for name, options in passes.items()]
    replace_file(path, "\n".join(lines))
