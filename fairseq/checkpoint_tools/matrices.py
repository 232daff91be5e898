"""The weights of a file that are matrices, whoever wrote it: a checkpoint of ours or fairseq's, packed or not, a
safetensors file, or a folder of a Hugging Face model.

    tensors = matrices("checkpoint_best.pt")

Convolutions count as matrices with a row per output channel. Tied weights come once.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq import checkpoint_utils
from fairseq.errors import CheckpointError
from fairseq.interop.hf_files import read_tensor_file, read_tensors


def matrices(path: str) -> list[Tensor]:
    """Floating-point tensors of two axes or more.

    Raises:
        CheckpointError: the file cannot be read or holds none.
    """
    place = Path(path)
    found: dict[str, Any]
    if place.is_dir():
        found = read_tensors(place)
    elif place.suffix == ".safetensors":
        found = read_tensor_file(place)
    else:
        found = checkpoint_utils.load_checkpoint_to_cpu(path)["model"]
    kept: dict[Any, Tensor] = {}
    for tensor in found.values():
        if isinstance(tensor, Tensor) and tensor.dim() > 1 and tensor.is_floating_point() and tensor.numel():
            kept.setdefault((tensor.data_ptr(), tensor.shape), tensor)
    if not kept:
        raise CheckpointError(f"{path} holds no matrix of floating-point numbers")
    return list(kept.values())
