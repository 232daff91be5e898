"""A number format for each layer: one dimension for each group of modules.

    precision:
      apply: training            # quantized from the first update on; `after`: on the trained model, by a pass
      group: module              # a dimension for each Linear, ...; `layer`, `kind`; or `modules`, a list of globs
      formats: [symmetric, mxfp4]          # by name; every number format of `fairseq-formats list`
      widths: [4, 8, 16]                   # of formats that have more than one
      fractions: [half, auto, 4]           # of fixed_point
      choices: [none, "fixed_point/8.4", "symmetric/4"]     # or all choices in full
      operands: [weight, input]            # what is rounded; with `apart: true` each has a dimension of its own
      gradients: 8                         # bits in training; none (the default) leaves them in full precision
      rest: none                           # preset of what is not searched, in training

A choice is a text: `none`, a format's name, `FORMAT/BITS`, or `fixed_point/BITS.FRACTION`.

>>> read_choice("fixed_point/8.4"), read_choice("symmetric/4"), read_choice("none")
({'format': {'format': 'fixed_point', 'frac_width': 4}, 'bits': 8}, {'format': 'symmetric', 'bits': 4}, None)
"""

import fnmatch
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from torch import nn

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.formats import build_format
from fairseq.quantization.plan.presets import PRESETS
from fairseq.quantization.plan.targets import find_targets
from fairseq.studies.search.dimensions import Dimension

NONE = "none"
KEYS = (
    "apply", "group", "modules", "exclude", "formats", "widths", "fractions", "choices", "operands", "apart",
    "gradients", "rest",
)  # fmt: skip
APPLY = ("training", "after")
GROUPS = ("module", "layer", "kind")
OPERANDS = ("weight", "input")
FIXED = "fixed_point"


def read_choice(text: str, where: str = "precision") -> Optional[dict[str, Any]]:
    """Fields of a rule; None for full precision.

    Raises:
        ConfigError: no format of that name, or not of so many bits.
    """
    if text == NONE:
        return None
    name, _, bits = text.partition("/")
    width, _, fraction = bits.partition(".")
    settings: Any = name
    if fraction:
        if name != FIXED:
            raise ConfigError(f"{where}: {text!r}: only {FIXED} has a fraction")
        settings = {"format": name, "frac_width": int(fraction) if re.fullmatch(r"-?\d+", fraction) else fraction}
    try:
        number_format = build_format(settings, where)
    except ConfigError as error:
        raise ConfigError(f"{error}; a choice is {NONE}, a format, FORMAT/BITS or {FIXED}/BITS.FRACTION") from None
    if not width:
        if number_format.fixed_bits is None:
            raise ConfigError(f"{where}: {text!r} needs bits, such as {name}/8")
        return {"format": settings, "bits": number_format.fixed_bits}
    if not width.isdigit():
        raise ConfigError(f"{where}: {text!r}: {width!r} is no number of bits")
    return {"format": settings, "bits": number_format.check_bits(int(width), where)}


@dataclass(frozen=True)
class Precision:
    """The section `precision`, and the modules of each group.

    Attributes:
        groups: name of a dimension, without its operand -> paths of modules.
    """

    apply: str
    choices: tuple[str, ...]
    operands: tuple[str, ...]
    apart: bool
    gradients: int
    rest: str
    groups: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, section: Mapping[str, Any], model: nn.Module, used: Optional[Container[str]] = None) -> "Precision":
        """The section for a model.

        Args:
            used: paths of the modules that multiply in a forward pass; None: all may.

        Raises:
            ConfigError: an unknown key, format or group; a pattern that matches nothing.
        """
        for key in section:
            if key not in KEYS:
                raise ConfigError(unknown("key", key, KEYS, where="precision"))
        apply, rest = section.get("apply", "training"), section.get("rest", NONE)
        if apply not in APPLY:
            raise ConfigError(unknown("apply", str(apply), APPLY, where="precision"))
        if rest not in PRESETS:
            raise ConfigError(unknown("preset", str(rest), PRESETS, where="precision.rest"))
        gradients = section.get("gradients", NONE)
        if gradients != NONE and (isinstance(gradients, bool) or not isinstance(gradients, int) or gradients < 1):
            raise ConfigError(f"precision.gradients: needs a number of bits or none, got {gradients!r}")
        if apply == "after" and (rest != NONE or gradients != NONE):
            raise ConfigError("precision: rest and gradients belong to training; they have no effect with apply: after")
        operands = section.get("operands", list(OPERANDS))
        if not isinstance(operands, list) or not operands:
            raise ConfigError(f"precision.operands: needs a list of {', '.join(OPERANDS)}, got {operands!r}")
        for operand in operands:
            if operand not in OPERANDS:
                raise ConfigError(unknown("operand", str(operand), OPERANDS, where="precision"))
        return cls(
            apply, _choices(section), tuple(operands), bool(section.get("apart", False)),
            0 if gradients == NONE else gradients, rest, _groups(section, model, used),
        )  # fmt: skip

    def dimensions(self) -> list[Dimension]:
        """One for each group, or for each operand of each."""
        names = (
            [f"{name}.{operand}" for name in self.groups for operand in self.operands] if self.apart else self.groups
        )
        return [Dimension(f"precision {name}", self.choices) for name in names]

    def _chosen(self, values: Mapping[str, Any]) -> list[tuple[str, str, Optional[dict[str, Any]]]]:
        """Path of a module, operand, and fields of its rule."""
        found = []
        for name, paths in self.groups.items():
            for operand in self.operands:
                choice = values[f"precision {name}.{operand}" if self.apart else f"precision {name}"]
                found += [(path, operand, read_choice(choice)) for path in paths]
        return found

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The group `quantization` of a run with these choices: preset, gradients' bits, rules.

        On a trained model ranges are those of the tensor at hand, as in the pass `quantize`: none has been averaged.
        """
        chosen = self._chosen(values)
        if self.rest == NONE and all(fields is None for _, _, fields in chosen):
            return {"preset": NONE}
        nothing = {"match": "*", "quantize": False, **({"range": "minmax"} if self.apply == "after" else {})}
        rules: list[dict[str, Any]] = [nothing] if self.rest == NONE else []
        for path, operand, fields in chosen:
            rule = {"quantize": False} if fields is None else {"quantize": True, **fields}
            rules.append({"match": f"{path}.{operand}", **rule})
        rounded = dict.fromkeys(path for path, _, fields in chosen if fields is not None)
        gradient = {"quantize": True, "grad_bits": self.gradients} if self.gradients else {"quantize": False}
        rules += [{"match": f"{path}.grad_output", **gradient} for path in rounded]
        preset = "int8" if self.rest == NONE else self.rest
        return {"preset": preset, "num_grad_bits": self.gradients, "rules": rules}

    def quantize_pass(self, values: Mapping[str, Any]) -> Optional[dict[str, Any]]:
        """Options of the pass `quantize` with these choices; None where nothing is rounded."""
        by_path: dict[str, dict[str, Any]] = {}
        for path, operand, fields in self._chosen(values):
            if fields is not None:
                by_path.setdefault(path, {})[operand] = fields
        return {"by": "name", **by_path} if by_path else None


def _choices(section: Mapping[str, Any]) -> tuple[str, ...]:
    given = section.get("choices")
    if given is not None:
        clash = [key for key in ("formats", "widths", "fractions") if key in section]
        if clash:
            raise ConfigError(f"precision: choices says all; take {', '.join(clash)} out")
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            raise ConfigError(f"precision.choices: needs a list of texts such as [none, symmetric/4], got {given!r}")
        found = given
    else:
        found = _combined(section)
    if len(set(found)) < 2 or len(set(found)) < len(found):
        raise ConfigError(f"precision: needs two choices or more, each once, got {', '.join(found) or 'none'}")
    for text in found:
        read_choice(text)
    return tuple(found)


def _combined(section: Mapping[str, Any]) -> list[str]:
    formats, widths = section.get("formats", ["symmetric"]), section.get("widths", [])
    fractions = section.get("fractions", [])
    for key, value in (("formats", formats), ("widths", widths), ("fractions", fractions)):
        if not isinstance(value, list):
            raise ConfigError(f"precision.{key}: needs a list, got {value!r}")
    if "formats" not in section and fractions:
        formats = [FIXED]
    if fractions and FIXED not in formats:
        raise ConfigError(f"precision.fractions belong to {FIXED}; add it to formats, or take them out")
    found = []
    for name in formats:
        if name == NONE or build_format(name, "precision.formats").fixed_bits is not None:
            found.append(str(name))
            continue
        if not widths:
            raise ConfigError(f"precision: {name} needs widths, such as [4, 8]")
        for width in widths:
            found += [f"{name}/{width}.{fraction}" for fraction in fractions] if name == FIXED and fractions else [
                f"{name}/{width}"
            ]  # fmt: skip
    return found


def _groups(section: Mapping[str, Any], model: nn.Module, used: Optional[Container[str]]) -> dict[str, tuple[str, ...]]:
    """Modules with a weight and an input that can be rounded, by group."""
    excluded = section.get("exclude", [])
    words = [
        target.path
        for target in find_targets(model)
        if target.multiplies
        and {f"{target.path}.weight", f"{target.path}.input"} <= set(target.roles)
        and (used is None or target.path in used)
    ]
    if not isinstance(excluded, list):
        raise ConfigError(f"precision.exclude: needs a list of globs, got {excluded!r}")
    for pattern in excluded:
        _matched(pattern, words, "exclude")
    paths = [path for path in words if not any(fnmatch.fnmatchcase(path, pattern) for pattern in excluded)]
    if not paths:
        raise ConfigError("precision: the model has no module whose weight and input can be rounded")
    if section.get("modules") is not None:
        if "group" in section:
            raise ConfigError("precision: give either modules, a list of globs, or group")
        patterns: Any = section["modules"]
        if not isinstance(patterns, list) or not patterns:
            raise ConfigError(f"precision.modules: needs a list of globs, got {patterns!r}")
        groups = {pattern: tuple(_matched(pattern, paths, "modules")) for pattern in patterns}
        seen: dict[str, str] = {}
        for pattern, found in groups.items():
            for path in found:
                if path in seen:
                    raise ConfigError(f"precision.modules: {path} is in {seen[path]!r} and in {pattern!r}")
                seen[path] = pattern
        return groups
    group = section.get("group", "module")
    if group not in GROUPS:
        raise ConfigError(unknown("group", str(group), GROUPS, where="precision"))
    found_groups: dict[str, list[str]] = {}
    for path in paths:
        found_groups.setdefault(_group_of(path, group), []).append(path)
    return {name: tuple(found) for name, found in found_groups.items()}


def _matched(pattern: Any, paths: Sequence[str], where: str) -> list[str]:
    found = [path for path in paths if fnmatch.fnmatchcase(path, str(pattern))]
    if not found:
        raise ConfigError(f"precision.{where}: {unknown('module', str(pattern), paths)}")
    return found


def _group_of(path: str, group: str) -> str:
    """The dimension of a module.

    >>> _group_of("encoder.layers.3.self_attn.q_proj", "layer"), _group_of("encoder.layers.3.fc1", "kind")
    ('encoder.layers.3', 'encoder.layers.*.fc1')
    """
    if group == "kind":
        return re.sub(r"\b\d+\b", "*", path)
    if group == "layer":
        found = re.match(r"(.*?\b\d+)\b", path)
        return found[1] if found else path
    return path
