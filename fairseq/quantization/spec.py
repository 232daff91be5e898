"""What rules decide for one quantizer, resolved and checked.

>>> QuantizerSpec(bits=4, granularity="channel").describe()["bits"]
'4'
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Union

from fairseq.errors import ConfigError, unknown

FOLLOW = "follow"
MAX_INTEGER_BITS = 8  # of codes that integer products multiply
WEIGHT, ACTIVATION, GRADIENT, BIAS, CACHE = "weight", "activation", "gradient", "bias", "cache"  # roles
ACROSS = "across:"  # before a transform of what is rounded anew for a product that sums over another axis
CACHE_BITS = (4, 8)  # of kept keys and values
CHOICES = {
    "rounding": ("nearest", "stochastic"),
    "compute": ("simulate", "integer", "auto"),
}


@dataclass(frozen=True)
class QuantizerSpec:
    """Settings of one quantizer.

    Attributes:
        quantize: False leaves the tensor in full precision.
        bits: pinned bits, or "follow" for the threaded `num_bits`. For a gradient these are its `grad_bits`, and None
            leaves the gradient in full precision.
        format: a number format: its name, or `{format: name, setting: value}`.
        granularity: which values share a range, as text.
        range: range source, a name or `{name: ..., options}`.
        ste: gradient of rounding: `plain` (or `straight_through`) passes it everywhere, `clipped` only between the
            outermost levels; others, some with a number (`within:1.3`), are in `rounding/`.
        learned: `scale` (LSQ), `clip` (PACT), `flexround` or `none`.
        rounding: `nearest` or `stochastic`; weights are rounded to nearest in evaluation.
        transform: what is done to the tensor first: `hadamard:N`, `standardize` (`transforms/`); behind `across:` only
            where blocks are made anew for another product, as for the weight gradient.
        compute: how the product is carried out: `simulate` multiplies rounded values in floating point, `integer` codes
            of 8 bits or fewer (more bits are simulated), `auto` does what is faster for the layer's shape.
    """

    quantize: bool = True
    bits: Union[int, str, None] = FOLLOW
    format: Union[str, Mapping[str, Any]] = "affine_float_zp"
    granularity: str = "tensor"
    range: Union[str, Mapping[str, Any]] = "minmax"
    ste: str = "plain"
    learned: str = "none"
    rounding: str = "nearest"
    compute: str = "simulate"
    transform: str = "none"

    def check(self, path: str, role: str) -> "QuantizerSpec":
        """Itself, without aliases, if every setting can be used for a quantizer of that role at `path`; else
        ConfigError.
        """
        # imported here: configs and rules are read where no torch is loaded
        from fairseq.quantization.formats import build_format
        from fairseq.quantization.granularity import Granularity
        from fairseq.quantization.rounding.learned_qparams import LEARNED_QPARAMS
        from fairseq.quantization.rounding.straight_through import build_backward, canonical_backward
        from fairseq.quantization.transforms import build_transform

        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(unknown(name, str(getattr(self, name)), choices, where=f"the rules for {path!r}"))
        number_format = build_format(self.format, path)
        build_backward(self.ste, f"the rules for {path!r}").check(number_format, path)
        across = self.transform.removeprefix(ACROSS)
        transform = build_transform(across, path)
        turns = number_format.block is not None and number_format.block[0] != number_format.block[1]
        if across != self.transform and not (turns and transform is not None and transform.is_rotation):
            raise ConfigError(
                f"{path}: the transform {self.transform} is a rotation for formats whose blocks lie along one axis, "
                f"which are rounded anew for the weight gradient; the format is {number_format}"
            )
        if transform is not None and role not in transform.roles:
            raise ConfigError(f"{path}: the transform {self.transform} is not for a tensor of this role, {role}")
        if self.learned != "none" and self.learned not in LEARNED_QPARAMS:
            known = ("none", *LEARNED_QPARAMS)
            raise ConfigError(unknown("learned", str(self.learned), known, where=f"the rules for {path!r}"))
        if isinstance(self.bits, str) and self.bits != FOLLOW:
            raise ConfigError(f"{path}: bits must be a number or {FOLLOW!r}, got {self.bits!r}")
        if self.bits is not None and self.bits != FOLLOW:
            number_format.check_bits(self.bits, path)  # type: ignore[arg-type]
        if number_format.block is not None:
            own = self.in_blocks(number_format.block, path)
            if own != self:
                return own.check(path, role)
        kind = Granularity.parse(self.granularity, where=path).kind
        if role == BIAS:
            own = self.of_vector()
            if own != self:
                return own.check(path, role)
            if kind == "channel":
                raise ConfigError(
                    f"{path}: granularity {self.granularity} would give each value of a bias a range of its own; use "
                    "tensor, or group:G for G neighbours"
                )
        if self.learned != "none":
            if role == GRADIENT:
                raise ConfigError(f"{path}: a gradient's scale or clip cannot be learned")
            if LEARNED_QPARAMS.lookup(self.learned).by_element and role != WEIGHT:
                raise ConfigError(
                    f"{path}: learned {self.learned} has parameters for each element, so for weights only"
                )
            if kind not in ("tensor", "channel"):
                raise ConfigError(f"{path}: learned {self.learned} needs granularity tensor or channel, not {kind}")
            LEARNED_QPARAMS.lookup(self.learned).check(number_format, path, self.learned)
            if self.rounding != "nearest":
                raise ConfigError(f"{path}: learned {self.learned} rounds to nearest; remove rounding: {self.rounding}")
        if role == GRADIENT and self.quantize and not number_format.holds_gradients:
            raise ConfigError(
                f"{path}: the format {number_format} cannot hold gradients; use another, such as symmetric"
            )
        if self.rounding == "stochastic" and not number_format.takes_noise:
            raise ConfigError(f"{path}: the format {number_format} cannot round stochastically; use rounding: nearest")
        return replace(self, ste=canonical_backward(self.ste))

    def in_blocks(self, block: tuple[int, int], path: str) -> "QuantizerSpec":
        """The settings of a format that finds the scales of its blocks (rows, columns) itself.

        Granularity and running ranges may come from a preset that knew nothing of the format; another size of blocks
        is a contradiction.
        """
        from fairseq.quantization.granularity import Granularity
        from fairseq.quantization.observers import OBSERVERS

        rows, columns = block
        own = f"group:{columns}" if rows == 1 else f"block:{rows}x{columns}"
        if Granularity.parse(self.granularity, where=path).kind in ("group", "block") and self.granularity != own:
            size = columns if rows == 1 else list(block)
            raise ConfigError(
                f"{path}: granularity {self.granularity} contradicts the format's own blocks, {own}; leave granularity "
                f"away, or give the format another block_size than {size}"
            )
        name = self.range if isinstance(self.range, str) else self.range.get("name", "minmax")
        return replace(self, granularity=own, range="minmax" if OBSERVERS.lookup(name).is_running else self.range)

    def of_vector(self) -> "QuantizerSpec":
        """The settings for a bias, which is at hand at any time: a preset's running range is of no use to it."""
        from fairseq.quantization.observers import OBSERVERS

        name = self.range if isinstance(self.range, str) else self.range.get("name", "minmax")
        return replace(self, range="minmax") if OBSERVERS.lookup(name).is_running else self

    def of_cache(self, path: str) -> "QuantizerSpec":
        """Itself, if it can be that of kept keys and values; else ConfigError."""
        if self.quantize and self.bits not in CACHE_BITS:
            raise ConfigError(
                f"{path}: kept keys and values have 8 or 4 bits, not {self.bits}; give the rule bits: 8 or bits: 4,"
                " or 0 for full precision"
            )
        return self

    def describe(self) -> dict[str, str]:
        """Settings as text, for the plan's table."""
        from fairseq.quantization.formats import build_format

        source = self.range if isinstance(self.range, str) else self.range.get("name", "?")
        options = "" if isinstance(self.range, str) else _options(self.range)
        number_format = build_format(self.format)
        range_text = f"learned {self.learned}" if self.learned != "none" else f"{source}{options}"
        return {
            "format": str(number_format),
            "bits": "32" if not self.quantize or self.bits is None else str(self.bits),
            "granularity": self.granularity if number_format.takes_range else "tensor",
            "range": range_text if number_format.takes_range else "none",
            "rounding": self.rounding,
            "ste": self.ste,
            "compute": self.compute,
            **({} if self.transform == "none" else {"transform": self.transform}),
        }


def _options(source: Mapping[str, Any]) -> str:
    inner = ", ".join(f"{name}={value}" for name, value in source.items() if name != "name")
    return f"({inner})" if inner else ""
