"""Configs from Python: what the commands see, without a command.

    folder = "examples/roberta/config/finetuning"
    cfg = compose("rte", folder, ["task.data=RTE-bin", "checkpoint.restore_file=model.pt"])
    cfg.optimization.lr             # [2e-05]

>>> compose(overrides=["model=roberta", "model.dropout=0.3"], check=False).model.dropout
0.3
"""

import os
from collections.abc import Sequence
from typing import Any, Optional, Union

from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from fairseq.dataclass import schema
from fairseq.dataclass.finish import check_complete, finish
from fairseq.dataclass.typed import as_mapping, typed_component, typed_config

__all__ = ["add_defaults", "check_complete", "compose", "finish", "hydra_init", "typed_config", "validate_config"]


def compose(
    config_name: Optional[str] = None,
    config_dir: Optional[Union[str, os.PathLike]] = None,
    overrides: Sequence[str] = (),
    *,
    check: bool = True,
) -> DictConfig:
    """The config that `fairseq-hydra-train --config-dir DIR --config-name NAME OVERRIDES...` trains with.

    Args:
        config_name: a YAML file without its suffix; default: the packaged config, in which nothing is chosen.
        config_dir: the folder of that file and of its groups.
        overrides: words as on the command line, `"model.dropout=0.3"`, `"optimizer=adam"`.
        check: raise where a component that training needs is not chosen or a mandatory key is missing.

    Returns:
        the typed root config, interpolations resolved. Paths are as given, relative to the current folder.

    Raises:
        ConfigError: for anything wrong with files or words, on one line.
    """
    from hydra.types import RunMode  # a quarter of a second, which commands that only read flags need not spend

    from fairseq.dataclass.compose.loader import Loader, search_path

    loader = Loader(search_path(None if config_dir is None else os.fspath(config_dir)))
    cfg = loader.load_configuration(config_name or "config", list(overrides), RunMode.RUN, from_shell=False)
    with open_dict(cfg):
        del cfg["hydra"]
    finish(cfg)
    if check:
        check_complete(cfg)
    return cfg


def validate_config(cfg: Any, *, complete: bool = True) -> None:
    """Raise ConfigError unless every key and value of `cfg` (a config or a plain mapping) is valid.

    Args:
        complete: everything that training needs must be there too.
    """
    typed = finish(typed_config(cfg))
    if complete:
        check_complete(typed)


def add_defaults(cfg: DictConfig) -> None:
    """Give each component of `cfg`, in place, the keys that it lacks; a bare name becomes a full component."""
    OmegaConf.set_struct(cfg, False)
    cfg._set_flag("allow_objects", True)
    for slot in schema.SLOTS:
        value = None if OmegaConf.is_missing(cfg, slot) else cfg.get(slot)
        if isinstance(value, DictConfig):
            value = as_mapping(value)
        if value is not None:
            with flag_override(cfg, "no_deepcopy_set_nodes", True):
                cfg[slot] = typed_component(slot, value)
    for group, dataclass in schema.GROUPS.items():
        if cfg.get(group) is None:
            cfg[group] = OmegaConf.structured(dataclass)


def hydra_init(cfg_name: str = "config") -> None:
    """fairseq's hook to fill Hydra's config store. Nothing to do: components are found when they are requested."""
