"""Loading a checkpoint into a model with fewer layers: keep some, renumber them.

>>> keep_layers({"encoder.layers.0.w": 10, "encoder.layers.2.w": 12, "encoder.norm": 1}, "encoder", [2])
{'encoder.layers.0.w': 12, 'encoder.norm': 1}
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from fairseq.errors import ConfigError


def prune_state_dict(state_dict: dict[str, Any], model_cfg: Optional[Any]) -> dict[str, Any]:
    """`state_dict` reduced to the layers in `encoder_layers_to_keep` / `decoder_layers_to_keep` of `model_cfg`."""
    for side in ("encoder", "decoder"):
        kept = _read(model_cfg, f"{side}_layers_to_keep")
        if kept is not None and kept != "":
            state_dict = keep_layers(state_dict, side, layer_numbers(kept, f"{side}_layers_to_keep"))
    return state_dict


def layer_numbers(kept: Union[str, Sequence[int]], where: str) -> list[int]:
    """Sorted layer numbers from `"0,2,4"` or a list."""
    try:
        return sorted(int(number) for number in (kept.strip("[] ").split(",") if isinstance(kept, str) else kept))
    except ValueError:
        raise ConfigError(f"{where}: expected layer numbers such as 0,2,4, got {kept!r}") from None


def keep_layers(state_dict: Mapping[str, Any], side: str, kept: Sequence[int]) -> dict[str, Any]:
    """Entries of `<side>...layers.N` with N in `kept`, renumbered from 0; all other entries as they are.

    A state dict with exactly `len(kept)` layers was pruned when it was written, and is left alone.
    """
    pattern = re.compile(rf"^({side}\.(?:.*?\.)?layers\.)(\d+)(\..*)$")
    numbers = {int(match[2]) for match in map(pattern.match, state_dict) if match}
    new_number = {old: new for new, old in enumerate(sorted(numbers) if len(numbers) == len(kept) else kept)}
    missing = sorted(set(new_number) - numbers)
    if numbers and missing:
        raise ConfigError(
            f"{side}_layers_to_keep: the checkpoint has no layer {missing[0]}, only {len(numbers)} layers"
        )
    result = {}
    for key, value in state_dict.items():
        match = pattern.match(key)
        if match is None:
            result[key] = value
        elif int(match[2]) in new_number:
            result[f"{match[1]}{new_number[int(match[2])]}{match[3]}"] = value
    return result


def _read(cfg: Optional[Any], name: str) -> Any:
    if cfg is None:
        return None
    return cfg.get(name) if hasattr(cfg, "get") else getattr(cfg, name, None)
