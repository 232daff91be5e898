"""Models built from their configs, by name. This module knows the registries, and no model."""

from typing import Any

from fairseq.models.config import is_free_form, unwrap, writable
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, model_class


def build_model(cfg: Any, task: Any, from_checkpoint: bool = False) -> Any:
    """Build the model that `cfg._name` (or `cfg.arch`) names.

    Args:
        cfg: config node, namespace or dataclass; what it leaves open is filled in from the architecture, in place.
        task: handed to the model's `build_model`; gives dictionaries and limits.
        from_checkpoint: `cfg` was read from a checkpoint and may hold keys of another version; they are ignored.

    Raises:
        ConfigError: no such model.
    """
    name, cfg = unwrap(cfg)
    cls = model_class(name)
    if name in ARCH_CONFIG_REGISTRY:
        with writable(cfg):
            ARCH_CONFIG_REGISTRY[name](cfg)
    if not is_free_form(cfg):
        return cls.build_model(cfg, task)
    with writable(cfg):  # models in the argparse style write their defaults into their config
        return cls.build_model(cfg, task)
