"""A file that says how to quantize, where a preset's name could stand.

    fairseq-hydra-train ... quantization=plan.yaml          fairseq-train ... --quantization plan.yaml

    # plan.yaml
    preset: int8
    rules:
      - {match: '*.layers.0.*', bits: 4}

Its keys are those of the `quantization` group, also below a key `quantization`. What is given beside it wins, and rules
given beside it come after its own. Checkpoints hold what the file said, not its name.

>>> is_file_name("int8"), is_file_name("plans/mixed.yaml")
(False, True)
"""

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from fairseq.dataclass.groups.quantization import QuantizationGroup
from fairseq.dataclass.typed import as_mapping, typed_node
from fairseq.errors import ConfigError, reason

SUFFIXES = (".yaml", ".yml")


def is_file_name(preset: Any) -> bool:
    """Whether a preset's name is that of a file."""
    return isinstance(preset, str) and preset.endswith(SUFFIXES)


def read_quantization(preset: str) -> dict[str, Any]:
    """Settings of the `quantization` group: `{"preset": preset}`, or what the file of that name says.

    Raises:
        ConfigError: a file that cannot be read, or says something else.
    """
    if not is_file_name(preset):
        return {"preset": preset}
    try:
        with open(preset, encoding="utf-8") as file:
            found = yaml.safe_load(file)
    except OSError as error:
        raise ConfigError(f"quantization: cannot read {preset}: {reason(error)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"quantization: {preset} is no YAML: {' '.join(str(error).split())}") from None
    if isinstance(found, Mapping) and set(found) == {"quantization"}:
        found = found["quantization"]
    if not isinstance(found, Mapping) or "preset" not in found or is_file_name(found["preset"]):
        raise ConfigError(
            f"quantization: {preset} needs a key `preset`, such as int8, and may have others, such as rules"
        )
    typed_node(QuantizationGroup, found, where=preset)
    return {str(key): value for key, value in found.items()}


def read_in_place(group: DictConfig) -> None:
    """Replace a file's name in the `quantization` group of a config by what it says."""
    if not is_file_name(group.preset):
        return
    given = as_mapping(group)
    merged = _over(read_quantization(given["preset"]), {key: value for key, value in given.items() if key != "preset"})
    for key, value in typed_node(QuantizationGroup, merged, where="quantization").items():
        group[key] = value


def _over(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`found` with what is `given` on top, where it is not the default."""
    usual = as_mapping(OmegaConf.structured(QuantizationGroup))
    result = dict(found)
    for key, value in given.items():
        if key == "rules":
            result["rules"] = [*(found.get("rules") or []), *(value or [])]
        elif key == "schedule":
            own = {name: inner for name, inner in (value or {}).items() if inner is not None and name != "_name"}
            result["schedule"] = {**(found.get("schedule") or {}), **own}
        elif value != usual.get(key):
            result[key] = value
    return result
