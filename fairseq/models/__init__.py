"""Models by name. Importing this package imports the bases and registries; a model is imported when it is requested."""

import importlib
import os
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models.composite_encoder import CompositeEncoder
from fairseq.models.config import is_free_form, unwrap, writable
from fairseq.models.distributed_fairseq_model import DistributedFairseqModel
from fairseq.models.fairseq_decoder import FairseqDecoder
from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.fairseq_incremental_decoder import FairseqIncrementalDecoder
from fairseq.models.fairseq_model import (
    BaseFairseqModel,
    FairseqEncoderDecoderModel,
    FairseqEncoderModel,
    FairseqLanguageModel,
    FairseqModel,
)
from fairseq.models.fairseq_multi_model import FairseqMultiModel
from fairseq.models.registries import (
    ARCH_CONFIG_REGISTRY,
    ARCH_MODEL_INV_REGISTRY,
    ARCH_MODEL_NAME_REGISTRY,
    ARCH_MODEL_REGISTRY,
    MODEL_DATACLASS_REGISTRY,
    MODEL_REGISTRY,
    model_class,
    register_model,
    register_model_architecture,
)

__all__ = [
    "ARCH_CONFIG_REGISTRY",
    "ARCH_MODEL_INV_REGISTRY",
    "ARCH_MODEL_NAME_REGISTRY",
    "ARCH_MODEL_REGISTRY",
    "MODEL_DATACLASS_REGISTRY",
    "MODEL_REGISTRY",
    "BaseFairseqModel",
    "CompositeEncoder",
    "DistributedFairseqModel",
    "FairseqDataclass",
    "FairseqDecoder",
    "FairseqEncoder",
    "FairseqEncoderDecoderModel",
    "FairseqEncoderModel",
    "FairseqIncrementalDecoder",
    "FairseqLanguageModel",
    "FairseqModel",
    "FairseqMultiModel",
    "build_model",
    "import_models",
    "merge_with_parent",
    "models_dir",
    "register_model",
    "register_model_architecture",
]

models_dir = os.path.dirname(__file__)


def import_models(models_dir: str, namespace: str) -> None:
    """Import every module of a plugin's folder, as package `namespace`, so that its models are registered."""
    for name in sorted(os.listdir(models_dir)):
        path = os.path.join(models_dir, name)
        if not name.startswith(("_", ".")) and (name.endswith(".py") or os.path.isdir(path)):
            importlib.import_module(f"{namespace}.{name.removesuffix('.py')}")


def build_model(cfg: Any, task: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
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
