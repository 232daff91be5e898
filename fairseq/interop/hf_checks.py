"""What a Hugging Face folder must hold for an import: kinds and sizes, before anything is made of them.

>>> size_of({"hidden_size": "8"}, "hidden_size", "folder")
Traceback (most recent call last):
...
fairseq.errors.CheckpointError: folder: hidden_size must be a positive whole number, not '8'
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq.data.encoders import tokenizer_files as files
from fairseq.errors import CheckpointError, DataError, shortened

MAX_SIZE = 2**31
_LAYER = re.compile(r"encoder\.sentence_encoder\.layers\.(\d+)\.")


@contextlib.contextmanager
def tokenizer_files() -> Iterator[None]:
    """Around what reads a tokenizer's files: a DataError becomes a CheckpointError, as they are part of a model."""
    try:
        yield
    except DataError as error:
        raise CheckpointError(str(error)) from None


def read_text(path: Path) -> str:
    """The text of a file; CheckpointError where it cannot be read or is not UTF-8."""
    with tokenizer_files():
        return files.read_text(str(path))


def size_of(config: dict[str, Any], name: str, where: str) -> int:
    """A positive whole number among the settings in config.json."""
    if name not in config:
        raise CheckpointError(f"{where}: config.json does not say {name}; get the file again")
    value = config[name]
    if type(value) is not int or not 0 < value < MAX_SIZE:
        raise CheckpointError(f"{where}: {name} must be a positive whole number, not {shortened(value)}")
    return value


def check_sizes(model: dict[str, Any], state: dict[str, Tensor], tokens: str, positions: str, where: str) -> None:
    """Raise CheckpointError where the weights have other sizes than config.json says.

    Args:
        model: our `model` group.
        state: weights under our names.
        tokens, positions: names of the two tables in `state`.
    """
    width, inner = model["encoder_embed_dim"], model["encoder_ffn_embed_dim"]
    layers = {int(match[1]) for name in state if (match := _LAYER.match(name))}
    if not len(layers) == max(layers, default=-1) + 1 == model["encoder_layers"]:
        raise _differs(where, "num_hidden_layers", model["encoder_layers"], len(layers))
    if width % model["encoder_attention_heads"]:
        raise CheckpointError(
            f"{where}: hidden_size={width} is no multiple of num_attention_heads={model['encoder_attention_heads']}"
        )
    for name in (tokens, positions):
        if state[name].dim() != 2 or state[name].shape[1] != width:
            raise _differs(where, "hidden_size", width, tuple(state[name].shape))
    rows = len(state[tokens])
    for name, shape in (("encoder.lm_head.weight", (rows, width)), ("encoder.lm_head.bias", (rows,))):
        if name in state and tuple(state[name].shape) != shape:
            raise CheckpointError(f"{where}: the {name} is {tuple(state[name].shape)}, expected {shape}")
    for layer in layers:
        weight = state.get(f"encoder.sentence_encoder.layers.{layer}.fc1.weight")
        if weight is None or tuple(weight.shape) != (inner, width):
            found = "no weight" if weight is None else tuple(weight.shape)
            raise _differs(where, "intermediate_size", inner, found)


def _differs(where: str, name: str, declared: Any, found: Any) -> CheckpointError:
    return CheckpointError(f"{where}: config.json says {name}={declared}, the weights have {found}; get both again")
