"""What a configuration says of a layer's operands, as fields of rules: in our words, or in MASE's keys.

    {"weight": {"format": "symmetric", "bits": 4}, "input": "fp8_e4m3"}         operands by name, fields of rules
    {"format": "mxfp8"}, {"bits": 8, "format": "symmetric"}                     both factors of the product
    {"name": "integer", "data_in_width": 8, "data_in_frac_width": 4, ...}       MASE's

Operands are `input`, `weight`, `bias`, `output` and `grad_output`; of a product of two activations `input` is the left
and `weight` the right one. None or "NA" leaves a layer, an operand, or a setting as it is.

>>> read_operands({"name": "integer", "weight_width": 8, "weight_frac_width": 4})[0]
{'weight': {'format': {'format': 'fixed_point', 'width': 8, 'frac_width': 4}}}
>>> read_operands({"config": {"name": "NA"}})
({}, ())
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Optional

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.formats.refused import refusal
from fairseq.quantization.plan.rules import Rule

Operands = dict[str, dict[str, Any]]
OPERANDS = ("input", "weight", "bias", "output", "grad_output")
PREFIXES = {"data_in": "input", "weight": "weight", "bias": "bias", "data_out": "output"}
FIELDS = tuple(field.name for field in fields(Rule) if field.name not in ("match", "optional", "quantize"))
MX_FLOATS = {(4, 3): "mxfp8_e4m3", (5, 2): "mxfp8_e5m2", (2, 3): "mxfp6_e2m3", (3, 2): "mxfp6_e3m2", (2, 1): "mxfp4"}
COMMON = ("name", "bypass", "floor")


def read_operands(config: Any, where: str = "config") -> tuple[Operands, tuple[str, ...]]:
    """Operand -> fields of a rule, and notes on settings that have no effect; nothing of a layer that is left alone.

    Raises:
        ConfigError: an unknown key (names the nearest) or format, a format without its width.
    """
    if isinstance(config, Mapping) and set(config) == {"config"}:
        config = config["config"]
    if absent(config):
        return {}, ()
    if isinstance(config, str):
        config = {"format": config}
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where}: needs a format's name or a mapping, got {config!r}")
    return _mase(config, where) if "name" in config else (_own(config, where), ())


def absent(value: Any) -> bool:
    """Whether a value is written but says nothing."""
    return value is None or (isinstance(value, str) and value.upper() in ("NA", "NONE"))


def _own(config: Mapping[str, Any], where: str) -> Operands:
    for key in config:
        if key not in (*OPERANDS, *FIELDS):
            raise ConfigError(unknown("key", str(key), [*OPERANDS, *FIELDS, "name"], where=where))
    both = {key: value for key, value in config.items() if key in FIELDS and not absent(value)}
    found: Operands = {}
    if both:
        found = {"input": dict(both), "weight": dict(both)}
    for operand in OPERANDS:
        if operand not in config:
            continue
        given = config[operand]
        if absent(given):
            found.pop(operand, None)
            continue
        given = {"format": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping):
            raise ConfigError(f"{where}.{operand}: needs a format's name or a mapping, got {given!r}")
        for key in given:
            if key not in FIELDS:
                raise ConfigError(unknown("key", str(key), FIELDS, where=f"{where}.{operand}"))
        found[operand] = {**found.get(operand, {}), **{k: v for k, v in given.items() if not absent(v)}}
    return found


# --- MASE's keys ------------------------------------------------------------------------------------------------------

Settings = Mapping[str, Any]  # of one operand, without its prefix and without what is absent


def _fixed(given: Settings, floor: bool) -> dict[str, Any]:
    number = {"format": "fixed_point", "width": given["width"], "frac_width": given.get("frac_width", "half")}
    number.update({"rounding": "floor"} if floor else {})
    number.update({"signed": False} if given.get("is_signed") is False else {})
    return {"format": number}


def _minifloat(name: str, **more: Any) -> Callable[[Settings, bool], dict[str, Any]]:
    def read(given: Settings, floor: bool) -> dict[str, Any]:
        exponent = given["exponent_width"]
        number = {"format": name, "exponent_bits": exponent, "mantissa_bits": given["width"] - exponent - 1, **more}
        return {"format": {**number, **({"bias": given["exponent_bias"]} if "exponent_bias" in given else {})}}

    return read


def _block(name: str, **keys: str) -> Callable[[Settings, bool], dict[str, Any]]:
    def read(given: Settings, floor: bool) -> dict[str, Any]:
        number: dict[str, Any] = {"format": name, "width": given["width"]}
        number.update({ours: given[theirs] for theirs, ours in keys.items() if theirs in given})
        if "block_size" in given:
            size = given["block_size"]
            number["block_size"] = size if isinstance(size, int) else size[-1]
        return {"format": number}

    return read


def _mxfp(given: Settings, floor: bool) -> dict[str, Any]:
    split = given["exponent_width"], given["frac_width"]
    if split not in MX_FLOATS:
        known = ", ".join(f"{exponent} and {mantissa}" for exponent, mantissa in MX_FLOATS)
        raise ConfigError(
            f"mxfp has no elements of {split[0]} exponent and {split[1]} fraction bits; there are {known}"
        )
    number: dict[str, Any] = {"format": MX_FLOATS[split]}
    if "block_size" in given:
        size = given["block_size"]
        number["block_size"] = size if isinstance(size, int) else size[-1]
    return {"format": number}


def _binary(given: Settings, floor: bool) -> dict[str, Any]:
    return {"format": "binary", "granularity": "channel", "rounding": "stochastic"} if given.get("stochastic") else {
        "format": "binary", "granularity": "channel"
    }  # fmt: skip


# name -> how its settings are read, keys that it needs, keys that it understands, keys without an effect here, operands
EVERY = tuple(PREFIXES)
Reader = tuple[Callable[[Settings, bool], dict[str, Any]], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
READERS: dict[str, Reader] = {
    "integer": (_fixed, ("width",), ("frac_width", "is_signed"), ()),
    "fixed": (_fixed, ("width",), ("frac_width", "is_signed"), ()),
    "scale_integer": (
        lambda given, floor: {"format": "symmetric", "bits": given["width"], "granularity": "channel"},
        ("width",), (), ("quantile",),
    ),
    "minifloat_ieee": (_minifloat("minifloat"), ("width", "exponent_width"), ("exponent_bias",), ()),
    "minifloat_denorm": (_minifloat("minifloat_denorm"), ("width", "exponent_width"), ("exponent_bias",), ()),
    "log": (lambda given, floor: {"format": "log", "bits": given["width"]}, ("width",), (), ("exponent_bias",)),
    "block_fp": (
        _block("block_fp", exponent_width="exponent_bits"),
        ("width",), ("exponent_width", "block_size"), ("exponent_bias", "skip_first_dim"),
    ),
    "block_minifloat": (
        _block("block_minifloat", exponent_width="exponent_bits", exponent_bias_width="bias_bits"),
        ("width", "exponent_width"), ("exponent_bias_width", "block_size"), ("skip_first_dim",),
    ),
    "block_log": (
        _block("block_log", exponent_bias_width="bias_bits"),
        ("width",), ("exponent_bias_width", "block_size"), ("skip_first_dim",),
    ),
    "mxint": (_block("block_fp"), ("width",), ("block_size",), ()),
    "mxfp": (_mxfp, ("exponent_width", "frac_width"), ("block_size",), ()),
    "binary": (_binary, (), ("stochastic",), ("width", "bipolar")),
    "ternary": (
        lambda given, floor: {"format": "ternary", "granularity": "channel"},
        (), (), ("width", "scaling_factor", "mean", "median", "max"),
    ),
}  # fmt: skip
WEIGHTS_ONLY = ("binary", "ternary")  # whose inputs and biases pass in full precision


def _mase(config: Mapping[str, Any], where: str) -> tuple[Operands, tuple[str, ...]]:
    name = config["name"]
    if absent(name) or config.get("bypass") is True:
        return {}, ()
    if name not in READERS:
        reason: Optional[str] = refusal(str(name))
        raise ConfigError(
            f"{where}: {name!r} is {reason}" if reason else unknown("format", str(name), READERS, where=where)
        )
    read, needed, understood, ignored = READERS[name]
    settings = _by_operand(config, (*needed, *understood, *ignored), where)
    notes = []
    operands: Operands = {}
    for prefix, given in settings.items():
        if name in WEIGHTS_ONLY and prefix != "weight":
            notes.append(f"{where}: {prefix}_* has no effect: {name} is for weights; the rest stays in full precision")
            continue
        if prefix == "bias" and not any(key in given for key in needed):
            continue
        for key in needed:
            if key not in given:
                raise ConfigError(f"{where}: {name} needs {prefix}_{key}")
        without = [f"{prefix}_{key}" for key in ignored if key in given and key != "width"]
        if without:
            notes.append(f"{where}: {', '.join(without)} has no effect on the format {name}")
        operands[PREFIXES[prefix]] = fields_of = read(given, bool(config.get("floor", False)))
        if prefix != "weight":
            fields_of.pop("granularity", None)
    if name in WEIGHTS_ONLY:
        operands.setdefault("weight", read({}, False))
    if not operands:
        raise ConfigError(f"{where}: {name} needs the width of an operand, such as weight_width")
    return operands, tuple(notes)


def _by_operand(config: Mapping[str, Any], known: tuple[str, ...], where: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    names = [f"{prefix}_{key}" for prefix in PREFIXES for key in known] + list(COMMON)
    for key, value in config.items():
        if key in COMMON:
            continue
        prefix = next((each for each in PREFIXES if str(key).startswith(f"{each}_")), None)
        setting = "" if prefix is None else str(key).removeprefix(f"{prefix}_")
        if prefix is None or setting not in known:
            raise ConfigError(unknown("key", str(key), names, where=where))
        if not absent(value):
            found.setdefault(prefix, {})[setting] = value
    return found
