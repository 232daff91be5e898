"""Reading the quantization of a run: a preset, and whatever differs from it.

Fields that are None come from the preset, so `quantization=cpt_3_8 quantization.num_bits=6` cycles between 3 and 6
bits. Rules are appended to the preset's.

>>> config = read_config({"preset": "cpt_3_8", "num_bits": 6, "schedule": {"num_cycles": 4}})
>>> config.num_bits, config.eval_bits, config.schedule.min_bits, config.schedule.num_cycles
(6, 6, 3, 4)
>>> read_config({"preset": "int8", "num_bit": 4})
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown key 'num_bit' in quantization; did you mean 'num_bits'?
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Optional, TypeGuard, Union

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.plan.kinds import check_kinds
from fairseq.quantization.plan.patterns import HEADS, pattern_rules
from fairseq.quantization.plan.presets import FULL_PRECISION, LANGUAGE_HEADS, PRESETS, renewed
from fairseq.quantization.plan.rules import Rule, read_rules
from fairseq.quantization.plan.settings import QuantizationConfig, ScheduleConfig
from fairseq.quantization.spec import CHOICES

ConfigLike = Union[QuantizationConfig, Mapping[str, Any], str, None]


def read_config(config: ConfigLike = None, **changes: Any) -> QuantizationConfig:
    """A complete config from a preset's name, a mapping or a config, with `changes`; the preset fills the rest."""
    if isinstance(config, QuantizationConfig):
        config = replace(config, **_typed(changes))
    elif config is not None and not isinstance(config, (str, Mapping)):
        raise ConfigError(
            f"quantization: needs a preset's name, such as 'int8', or a mapping of settings, got {config!r}"
        )
    else:
        given = {"preset": config} if isinstance(config, str) else dict(config or {})
        config = QuantizationConfig(**_typed({**given, **changes}))
    if config.preset not in PRESETS:
        from fairseq.quantization.formats.refused import refusal  # loads torch, which reading a config need not

        reason = refusal(config.preset)
        if reason is not None:
            raise ConfigError(f"quantization: {config.preset} is {reason}")
        raise ConfigError(unknown("preset", config.preset, PRESETS, where="quantization"))
    if not config.is_on:
        for name, value in _given(config).items():
            raise ConfigError(
                f"quantization.{name}={value} has no effect with preset none; choose a preset, such as int8"
            )
        return config
    return _check(_fill(config, PRESETS[config.preset]))


def _given(config: QuantizationConfig) -> dict[str, Any]:
    """The settings that decide about bits, where they are set; rules first."""
    own = {"rules": len(config.rules)} if config.rules else {}
    names = (
        *("num_bits", "num_grad_bits", "eval_bits", "pattern", "keep_last"),
        *("full_precision_updates", "full_precision_epochs"),
    )
    values: dict[str, Any] = {name: getattr(config, name) for name in names}
    schedule = config.schedule
    values.update({f"schedule.{name}": getattr(schedule, name) for name in ("name", "min_bits", "num_cycles")})
    return {**own, **{name: value for name, value in values.items() if value is not None}}


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of QuantizationConfig from plain values."""
    names = [field.name for field in fields(QuantizationConfig)]
    values = {name: value for name, value in values.items() if name != "_name"}  # a key of every Hydra group
    for name in values:
        if name not in names:
            raise ConfigError(unknown("key", str(name), names, where="quantization"))
    check_kinds(QuantizationConfig, {k: v for k, v in values.items() if k not in ("schedule", "rules")}, "quantization")
    typed = dict(values)
    schedule = typed.get("schedule")
    if isinstance(schedule, str):
        schedule = {"name": schedule}
    if isinstance(schedule, Mapping):
        names = [field.name for field in fields(ScheduleConfig)]
        schedule = {name: value for name, value in schedule.items() if name != "_name"}
        for name in schedule:
            if name not in names:
                raise ConfigError(unknown("key", str(name), names, where="quantization.schedule"))
        options = schedule.get("options") or {}
        if not isinstance(options, Mapping):
            raise ConfigError(f"quantization.schedule.options: needs a mapping, got {options!r}")
        schedule["options"] = options
        check_kinds(ScheduleConfig, schedule, "quantization.schedule")
        typed["schedule"] = ScheduleConfig(**{**schedule, "options": dict(options)})
    elif "schedule" in typed and schedule is None:
        del typed["schedule"]
    elif schedule is not None and not isinstance(schedule, ScheduleConfig):
        raise ConfigError(f"quantization.schedule: needs a name, such as 'CR', or a mapping, got {schedule!r}")
    if "rules" in typed:
        typed["rules"] = tuple(read_rules(typed["rules"] or ()))
    return typed


def _fill(config: QuantizationConfig, preset: QuantizationConfig) -> QuantizationConfig:
    own, base = config.schedule, preset.schedule
    for name in ("min_bits", "num_cycles"):
        if (own.name or base.name) == "constant" and getattr(own, name) is not None:
            raise ConfigError(
                f"quantization.schedule.{name}={getattr(own, name)} has no effect: the schedule is constant; "
                "choose another, such as quantization.schedule.name=CR"
            )
    schedule = ScheduleConfig(
        name=own.name if own.name is not None else base.name,
        min_bits=own.min_bits if own.min_bits is not None else base.min_bits,
        num_cycles=own.num_cycles if own.num_cycles is not None else base.num_cycles,
        options={**base.options, **own.options} if own.name in (None, base.name) else own.options,
    )
    num_bits = config.num_bits if config.num_bits is not None else preset.num_bits
    first = base_rules(config.pattern, preset)
    # a config that has been filled already carries the preset's rules
    filled = renewed(config.rules[: len(first)]) == first
    rules = (*first, *(config.rules[len(first) :] if filled else config.rules))
    return replace(
        config,
        num_bits=num_bits,
        num_grad_bits=config.num_grad_bits if config.num_grad_bits is not None else preset.num_grad_bits,
        eval_bits=config.eval_bits if config.eval_bits is not None else preset.eval_bits or num_bits,
        schedule=schedule,
        rules=rules,
    )


def base_rules(pattern: Optional[str], preset: QuantizationConfig) -> tuple[Rule, ...]:
    """The rules before those of the user: the preset's, in which a pattern that takes the classifier turns it on."""
    if pattern is None:
        return tuple(preset.rules)
    kept = [rule for rule in preset.rules if not (pattern in HEADS and rule == FULL_PRECISION[0])]
    languages = [LANGUAGE_HEADS] if pattern in HEADS else []
    return (*kept, *languages, *pattern_rules(pattern))


def _check(config: QuantizationConfig) -> QuantizationConfig:
    for name, value in (("num_bits", config.num_bits), ("eval_bits", config.eval_bits)):
        if not _is_whole(value) or value < 1:  # how many bits can be had, the formats say
            raise ConfigError(f"quantization.{name}: must be a whole number of bits, 1 or more, got {value!r}")
    grad_bits = config.num_grad_bits
    if grad_bits and (not _is_whole(grad_bits) or grad_bits < 1):
        raise ConfigError(
            f"quantization.num_grad_bits: must be a whole number of bits, or 0 for full precision, got {grad_bits!r}"
        )
    if grad_bits == 1:
        raise ConfigError(
            "quantization.num_grad_bits: gradients of 1 bit have lost their size, and nothing trains on them; use 0 "
            "for full precision, or 2 or more"
        )
    for name in ("full_precision_updates", "full_precision_epochs"):
        value = getattr(config, name)
        if value is not None and (not _is_whole(value) or value < 0):
            raise ConfigError(f"quantization.{name}: must be a whole number, 0 or more, got {value!r}")
    if config.full_precision_updates and config.full_precision_epochs:
        raise ConfigError("quantization: full_precision_updates and full_precision_epochs exclude each other; set one")
    if not _is_whole(config.seed):
        raise ConfigError(f"quantization.seed: needs a whole number, got {config.seed!r}")
    if config.compute not in CHOICES["compute"]:
        raise ConfigError(unknown("compute", str(config.compute), CHOICES["compute"], where="quantization"))
    low, high = config.schedule.min_bits, config.num_bits
    if low is not None and config.schedule.name != "constant":
        if not _is_whole(low) or low < 1:
            raise ConfigError(f"quantization.schedule.min_bits: must be a whole number of bits, 1 or more, got {low!r}")
        if low > high:  # type: ignore[operator]
            raise ConfigError(
                f"quantization.schedule.min_bits: the lower bound {low} lies above the upper bound num_bits {high}"
            )
    return config


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
