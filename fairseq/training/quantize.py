"""From a config's `quantization` group to a quantized model.

>>> from fairseq.dataclass.configs import QuantizationGroup
>>> config_of(QuantizationGroup(preset="cpt_3_8", num_bits=6)).schedule.min_bits
3
"""

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fairseq.dataclass.typed import as_mapping
from fairseq.dataclass.utils import to_container
from fairseq.quantization.plan.config import read_config
from fairseq.quantization.plan.settings import QuantizationConfig


def config_of(group: Any) -> QuantizationConfig:
    """The complete settings that a config's `quantization` group describes.

    Raises:
        ConfigError: an unknown preset, bits out of range, settings that contradict each other.
    """
    config = read_config(to_container(as_mapping(group, where="quantization")))
    if config.is_on:
        from fairseq.quantization.schedules.base import schedule_of  # its options are checked there

        schedule_of(config)
    return config


def quantize(model: nn.Module, group: Any) -> nn.Module:
    """`model` with the quantizers that a config's `quantization` group asks for; itself with preset `none`."""
    config = config_of(group)
    if not config.is_on:
        return model
    from fairseq.quantization import quantize_model

    model = quantize_model(model, config)
    # ranges are agreed on after each update; rank 0's, broadcast in the middle of one, would replace the others' sums
    buffers = [name for name, _ in model.named_buffers() if ".quantizers." in name]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, buffers)
    return model
