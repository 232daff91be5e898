"""Inputs to trace a model with, from their descriptions: `NAME:DTYPE[SHAPE]`.

>>> read_input("input:float32[8,16]")
('input', torch.float32, (8, 16))
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, unknown

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
DEFAULT_SIZES = (2, 11)  # of token ids: they differ, so that no axis is taken for another
PAIR_SIZES = {"src_lengths": DEFAULT_SIZES[:1], "prev_output_tokens": (2, 7)}  # besides src_tokens
KNOWN = "input_descriptions"  # attribute of a model that was made with them: a run folder's, a net of the labs
LEAVES = "paths_of_leaves"  # the same of parts that stay one node
HEAD = "head_of_task"  # the classification head that a checkpoint's criterion asks for; None where it asks for none


def read_input(text: str) -> tuple[str, torch.dtype, tuple[int, ...]]:
    """Name, dtype and sizes from `NAME:DTYPE[SHAPE]`."""
    match = re.fullmatch(r"(\w+):(\w+)\[([\d,\s]*)\]", text.strip())
    if match is None:
        raise ConfigError(f"input {text!r}: must be NAME:DTYPE[SHAPE], such as input_ids:int64[2,11]")
    name, dtype, sizes = match.groups()
    if dtype not in DTYPES:
        raise ConfigError(unknown("dtype", dtype, DTYPES, where=f"input {text!r}"))
    return name, getattr(torch, dtype), tuple(int(size) for size in sizes.split(",") if size.strip())


def make_inputs(model: nn.Module, texts: Sequence[str], seed: int = 1) -> Optional[dict[str, Any]]:
    """Inputs by name, from their descriptions; without any, those that the model was made with, token ids for models
    that are known to take them, else None. A model with a classification head is called as its task calls it.

    Raises:
        ConfigError: a description that cannot be read, two of one name.
    """
    texts = texts or getattr(model, KNOWN, ())
    if texts:
        wanted = [read_input(text) for text in texts]
        names = [name for name, _, _ in wanted]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"input {name!r} is given {names.count(name)} times; give it once")
        made = {name: make_input(model, name, dtype, shape, seed) for name, dtype, shape in wanted}
        return {**made, **_call_of_head(model)}
    ids = _token_ids(model)
    if ids is None:
        return None
    takes = inspect.signature(model.forward).parameters
    sizes = {ids: DEFAULT_SIZES, **(PAIR_SIZES if takes.keys() >= PAIR_SIZES.keys() else {})}
    made = {name: make_input(model, name, torch.int64, shape, seed) for name, shape in sizes.items()}
    return {**made, **_call_of_head(model)}


def remember_head(model: nn.Module, cfg: Any) -> None:
    """Note which of the model's heads the criterion of its checkpoint, with config `cfg`, asks for."""
    criterion = getattr(cfg, "criterion", None)
    names = [getattr(criterion, name, None) for name in ("classification_head_name", "ranking_head_name")]
    setattr(model, HEAD, next(filter(None, names), None))


def head_of(model: nn.Module) -> Optional[str]:
    """The classification head that the model's task calls: that of its criterion, else the first."""
    heads = getattr(model, "classification_heads", None)
    if not heads or "classification_head_name" not in inspect.signature(model.forward).parameters:
        return None
    name: Optional[str] = getattr(model, HEAD, next(iter(heads)))
    return name if name in heads else None


def _call_of_head(model: nn.Module) -> dict[str, Any]:
    name = head_of(model)
    return {} if name is None else {"features_only": True, "classification_head_name": name}


def leaves_of(model: nn.Module, given: Sequence[str] = ()) -> tuple[str, ...]:
    """Paths of parts that stay one node: those that the model was made with, and the given ones."""
    return tuple(dict.fromkeys([*getattr(model, LEAVES, ()), *given]))


def _token_ids(model: nn.Module) -> Optional[str]:
    if _is_ours(model):
        return "src_tokens"
    name = getattr(model, "main_input_name", None)  # transformers
    return name if isinstance(name, str) and name.endswith("_ids") else None


def _is_ours(model: nn.Module) -> bool:
    return type(model).__module__.startswith("fairseq.models.")


def make_input(model: nn.Module, name: str, dtype: torch.dtype, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Values that a model can take: normal numbers, token ids of its vocabulary, positions from 0, masks of ones."""
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype == torch.bool or "mask" in name:
        return torch.ones(shape, dtype=dtype)
    if "position" in name and shape:
        return torch.arange(shape[-1]).expand(shape).to(dtype).contiguous()
    if "type" in name or "label" in name:
        return torch.zeros(shape, dtype=dtype)
    tables = (module.num_embeddings for module in _side_of(model, name).modules() if isinstance(module, nn.Embedding))
    high = min(next(tables, 2), torch.iinfo(dtype).max)  # the first table is that of tokens
    return torch.randint(min(4, high - 1), high, shape, generator=generator).to(dtype)  # behind special symbols


def _side_of(model: nn.Module, name: str) -> nn.Module:
    """The part that looks up the ids of an input: decoders have a vocabulary of their own."""
    side = getattr(model, "decoder", None) if name in ("prev_output_tokens", "decoder_input_ids") else None
    return side if isinstance(side, nn.Module) else model


def batches_like(
    model: nn.Module, inputs: Mapping[str, Any], num_samples: Optional[int] = None, number: int = 1
) -> list[dict[str, Any]]:
    """Batches of made-up values with the names, types and sizes of `inputs`: to hold `num_samples`, or `number`.

    Raises:
        ConfigError: less than one sample.
    """
    if num_samples is not None:
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise ConfigError(f"num_samples: must be a whole number from 1 on, got {num_samples!r}")
        tensors = [value for value in inputs.values() if isinstance(value, Tensor) and value.dim()]
        number = -(-num_samples // max(1, len(tensors[0]))) if tensors else 1
    return [
        {
            name: make_input(model, name, value.dtype, tuple(value.shape), seed) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        for seed in range(1, number + 1)
    ]
