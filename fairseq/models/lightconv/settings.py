"""What lightconv models read from their configs in more than one place.

>>> from argparse import Namespace
>>> kernel_sizes(Namespace(encoder_kernel_size_list=[3], encoder_layers=2), "encoder")
[3, 3]
"""

from typing import Any

from fairseq.errors import ConfigError


def kernel_sizes(args: Any, side: str) -> list[int]:
    """The kernel size of each layer of a side, "encoder" or "decoder"."""
    sizes, layers = list(getattr(args, f"{side}_kernel_size_list")), getattr(args, f"{side}_layers")
    if len(sizes) == 1:
        sizes = sizes * layers
    if len(sizes) != layers:
        raise ConfigError(f"model.{side}_kernel_size_list has {len(sizes)} sizes for {layers} layers")
    return sizes
