"""Models by name. Importing this package imports the bases and registries; a model is imported when it is requested."""

import importlib
import os

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models.building import build_model
from fairseq.models.composite_encoder import CompositeEncoder
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
