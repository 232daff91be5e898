"""Helpers that plugins import from `fairseq.utils` and that we have no use for ourselves.

>>> from argparse import Namespace
>>> safe_getattr(Namespace(a=None), "a", 3), safe_hasattr(Namespace(a=None), "a")
(None, False)
>>> buffered_arange(3), new_arange(torch.zeros(2, 3), 2, 2)
(tensor([0, 1, 2]), tensor([[0, 1],
        [0, 1]]))
>>> convert_padding_direction(torch.tensor([[5, 6, 1]]), padding_idx=1, right_to_left=True)
tensor([[1, 5, 6]])
>>> eval_str_dict("{'a': '1'}", type=int)
{'a': 1}
"""

import argparse
import ast
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import DataError
from fairseq.file_io import PathManager
from fairseq.modules.positions import make_positions

__all__ = [
    "MANIFOLD_PATH_SEP",
    "CudaEnvironment",
    "FileContentsAction",
    "_match_types",
    "buffered_arange",
    "convert_padding_direction",
    "eval_str_dict",
    "get_incremental_state",
    "get_rng_state",
    "index_put",
    "is_xla_tensor",
    "load_embedding",
    "make_positions",
    "multi_tensor_total_norm",
    "new_arange",
    "parse_embedding",
    "print_embed_overlap",
    "relu_squared",
    "reset_logging",
    "safe_getattr",
    "safe_hasattr",
    "set_incremental_state",
    "set_rng_state",
]

logger = logging.getLogger(__name__)

MANIFOLD_PATH_SEP = "|"  # between paths that have colons in them


# -- attributes --------------------------------------------------------------------------------------------------------


def safe_getattr(obj: Any, name: str, default: Any = None) -> Any:
    """`obj.name`; `default` if there is none, and in a mapping or config also for None in its place."""
    if isinstance(obj, Mapping) or hasattr(obj, "get"):
        value = obj.get(name)
        return default if value is None else value
    return getattr(obj, name, default)


def safe_hasattr(obj: Any, name: str) -> bool:
    """Whether `obj.name` is there and not None."""
    return safe_getattr(obj, name) is not None


def eval_str_dict(text: Optional[str], type: Optional[Callable] = None) -> Optional[dict]:
    """A dictionary from a literal like `"{'a': 1}"`, its values converted by `type`."""
    if text is None:
        return None
    value = ast.literal_eval(text) if isinstance(text, str) else text
    return {key: type(entry) for key, entry in value.items()} if type is not None else dict(value)


# -- tensors -----------------------------------------------------------------------------------------------------------


def buffered_arange(maximum: int, device: Any = "cpu") -> Tensor:
    return torch.arange(maximum, device=device)


def new_arange(like: Tensor, *size: int) -> Tensor:
    """0, 1, 2, ... along the last dimension of a tensor of shape `size` (default: that of `like`), on its device."""
    size = size or tuple(like.shape)
    return torch.arange(size[-1], device=like.device).expand(*size).contiguous()


def convert_padding_direction(
    src_tokens: Tensor, padding_idx: int, right_to_left: bool = False, left_to_right: bool = False
) -> Tensor:
    """`src_tokens` (B, T) with its padding moved to the other side; rows padded there already are unchanged."""
    if right_to_left == left_to_right:
        raise ValueError("convert_padding_direction: set exactly one of right_to_left and left_to_right")
    padding = src_tokens.eq(padding_idx)
    shift = padding.long().sum(dim=1, keepdim=True)
    at_edge = padding[:, -1:] if right_to_left else padding[:, :1]
    shift = torch.where(at_edge, shift, torch.zeros_like(shift))
    places = torch.arange(src_tokens.size(1), device=src_tokens.device).expand_as(src_tokens)
    return src_tokens.gather(1, (places - shift if right_to_left else places + shift) % src_tokens.size(1))


def index_put(tensor: Tensor, indices: Any, value: Any) -> Tensor:
    """`tensor` with `value` in the places `indices`, changed in place."""
    tensor[indices] = value
    return tensor


def is_xla_tensor(tensor: Any) -> bool:
    return torch.is_tensor(tensor) and tensor.device.type == "xla"


def multi_tensor_total_norm(grads: Iterable[Tensor], chunk_size: int = 0) -> Tensor:
    """The L2 norm of all `grads` together."""
    grads = list(grads)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))) if grads else torch.tensor(0.0)


# -- state -------------------------------------------------------------------------------------------------------------


def get_incremental_state(module: Any, incremental_state: Optional[dict], key: str) -> Any:
    """What `module` kept under `key` in the step before."""
    return module.get_incremental_state(incremental_state, key)


def set_incremental_state(module: Any, incremental_state: Optional[dict], key: str, value: Any) -> Any:
    """Keep `value` under `key` until the next step."""
    return module.set_incremental_state(incremental_state, key, value)


def get_rng_state() -> dict[str, Tensor]:
    """The state of torch's generators."""
    state = {"torch_rng_state": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda_rng_state"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Tensor]) -> None:
    """Set torch's generators to what `get_rng_state` gave."""
    torch.set_rng_state(state["torch_rng_state"])
    if "cuda_rng_state" in state:
        torch.cuda.set_rng_state(state["cuda_rng_state"])


def reset_logging() -> None:
    """Take all handlers off the root logger."""
    logging.getLogger().handlers.clear()


# -- pretrained word vectors -------------------------------------------------------------------------------------------


def parse_embedding(embed_path: str) -> dict[str, Tensor]:
    """Word -> vector from a text file: a head line, then `word number number ...` a line (word2vec, GloVe).

    Raises:
        DataError: a line that is not like that, by its number.
    """
    vectors: dict[str, Tensor] = {}
    with open(embed_path, encoding="utf-8") as file:
        next(file, None)
        for number, line in enumerate(file, start=2):
            word, *values = line.rstrip().split(" ")
            try:
                vectors[word] = torch.tensor([float(value) for value in values])
            except ValueError:
                raise DataError(
                    f"{embed_path}, line {number}: expected a word and numbers, got {line[:60]!r}"
                ) from None
    return vectors


def load_embedding(vectors: Mapping[str, Tensor], vocab: Any, embedding: nn.Embedding) -> nn.Embedding:
    """Copy the vectors of the words in `vocab` into `embedding`, in place."""
    with torch.no_grad():
        for index in range(len(vocab)):
            if vocab[index] in vectors:
                embedding.weight[index] = vectors[vocab[index]]
    return embedding


def print_embed_overlap(vectors: Mapping[str, Tensor], vocab_dict: Any) -> None:
    """Log how many words have a pretrained vector."""
    found = sum(word in vectors for word in vocab_dict.symbols)
    logger.info(f"found {found}/{len(vocab_dict)} types in embedding file")


# -- flags, devices, activations ---------------------------------------------------------------------------------------


class FileContentsAction(argparse.Action):
    """A flag whose value is a file's text, where the word names a file; else the word."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Optional[str] = None) -> None:
        if PathManager.isfile(values):
            with PathManager.open(values) as file:
                values = file.read().strip()
        setattr(namespace, self.dest, values)


class CudaEnvironment:
    """Name, memory and capability of the current GPU."""

    def __init__(self) -> None:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.name = properties.name
        self.major, self.minor = properties.major, properties.minor
        self.total_memory_in_GB = properties.total_memory / 2**30

    @staticmethod
    def pretty_print_cuda_env_list(cuda_env_list: list["CudaEnvironment"]) -> None:
        """One line for each process's GPU."""
        width = max((len(env.name) for env in cuda_env_list), default=0)
        for rank, env in enumerate(cuda_env_list):
            logger.info(
                f"rank {rank:3d}: capabilities = {env.major:2d}.{env.minor:<2d} ; "
                f"total memory = {env.total_memory_in_GB:.3f} GB ; name = {env.name:{width}s}"
            )


def relu_squared(x: Tensor) -> Tensor:
    """(So et al., arXiv:2109.08668)."""
    return nn.functional.relu(x).pow(2)


def _match_types(arg1: Any, arg2: Any) -> tuple[Any, Any]:
    """Two position limits in the form of the richer one: numbers become tuples or dicts.

    >>> _match_types(3, (1, 2)), _match_types({"a": 1}, 2)
    (((3, 3), (1, 2)), ({'a': 1}, {'a': 2}))
    """

    def widened(plain: Any, like: Any) -> Any:
        if isinstance(like, dict) and not isinstance(plain, (dict, tuple)):
            return dict.fromkeys(like, plain)
        if isinstance(like, tuple) and not isinstance(plain, (dict, tuple)):
            return (plain,) * len(like)
        return plain

    return widened(arg1, arg2), widened(arg2, arg1)
