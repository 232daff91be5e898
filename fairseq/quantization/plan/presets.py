"""Ready-made quantizations: names for a config, as data.

| preset | weights, per channel | activations, per tensor | gradients, stochastic | bits |
| --- | --- | --- | --- | --- |
| `cpt_L_H`, `cpt` | affine_float_zp | affine_float_zp, average from 0 | affine_float_zp | cosine, 32 cycles |
| `int16`, `int8`, `int4` | symmetric | affine, averaged range | symmetric | constant |
| `ffn4_mha16`, `ffn16_mha4` | symmetric | affine, averaged range | symmetric | pinned per block |
| `fp8` | fp8_e4m3, scaled | fp8_e4m3, scaled | fp8_e5m2, scaled, to nearest | constant |

Formats that find the scales of their blocks themselves round all three to nearest; weights alone leave activations and
gradients in full precision:

| preset | weights | activations | gradients |
| --- | --- | --- | --- |
| `mxfp8` | mxfp8_e4m3 | mxfp8_e4m3 | mxfp8_e4m3 |
| `mxfp6` | mxfp6_e3m2 | mxfp6_e3m2 | mxfp8_e4m3 |
| `mxfp4`, `nvfp4` | the same | the same | mxfp8_e4m3 |
| `w8` | symmetric, per channel | | |
| `w4` | symmetric, in groups of 32 | | |
| `w2` | symmetric, learned scale per channel | | |
| `ternary`, `binary` | the same, per channel | | |

`w8a8` is `int8` with gradients in full precision. Published recipes are files of `recipes/` (`recipes.py`).

Sources: Micikevicius et al., arXiv:2209.05433 (`fp8`: e5m2 for gradients); Rouhani et al., arXiv:2310.10537 (`mx`; they
round gradients to the format of the weights, here they keep 8 bits); Li and Liu, arXiv:1605.04711 (`ternary`);
Rastegari et al., arXiv:1603.05279 (`binary`: its BWN).

Heads (`classification_heads`, `lm_head`, output projections, adaptive softmaxes) and embeddings, with the projections
of adaptive ones, stay in full precision unless a rule quantizes them; attention's output is quantized as the input of
`out_proj`, so its own quantizer is off, too.

>>> from fairseq.quantization.plan.config import read_config
>>> read_config("cpt_4_8").schedule
ScheduleConfig(name='CR', min_bits=4, num_cycles=32, options={})
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional, Union

from fairseq.quantization.plan.recipes import read_recipe, recipe_names
from fairseq.quantization.plan.rules import Rule
from fairseq.quantization.plan.settings import QuantizationConfig, ScheduleConfig

Format = Union[str, Mapping[str, Any]]

_CONSTANT = ScheduleConfig(name="constant")
_WEIGHT, _GRADIENT = r"re:(.*\.)?weight", r"re:(.*\.)?grad_output"
_NOT_WEIGHT = r"re:(?!(.*\.)?weight$).*"
_FFN, _ATTENTION = r"re:.*\b(fc[12]|linear[12])\.(weight|input)", r"re:.*\b(self_attn|encoder_attn)\b.*"

_HEADS_BEFORE = "classification_heads|lm_head|output_projection|adaptive_softmax"
_HEADS_OF_2 = rf"{_HEADS_BEFORE}|decoder\.fc3|decoder\.fc_out"  # the last: of convolutional and recurrent models
_HEADS = rf"{_HEADS_OF_2}|embed_length|embed_mask_ins|embed_word_del"  # the last: of models that refine sentences
_ADAPTIVE_INPUT = r"embed_tokens\.embeddings\.\d+\.1"  # which an adaptive softmax may share

FULL_PRECISION = (
    Rule(rf"re:(.*\.)?({_HEADS}|{_ADAPTIVE_INPUT})\b.*", quantize=False, optional=True),
    Rule(r"re:(.*\.)?output", quantize=False, optional=True),
)
_OTHER_HEADS = _HEADS.replace("classification_heads|", "")
LANGUAGE_HEADS = Rule(rf"re:(.*\.)?({_OTHER_HEADS}|{_ADAPTIVE_INPUT})\b.*", quantize=False, optional=True)
# the first of these as configs of older files carry it: before models that refine sentences, before convolutional
# models, and before adaptive softmaxes
_FIRST_BEFORE = (
    Rule(rf"re:(.*\.)?({_HEADS_OF_2}|{_ADAPTIVE_INPUT})\b.*", quantize=False, optional=True),
    Rule(rf"re:(.*\.)?({_HEADS_BEFORE}|{_ADAPTIVE_INPUT})\b.*", quantize=False, optional=True),
    Rule(r"re:(.*\.)?(classification_heads|lm_head|output_projection)\b.*", quantize=False, optional=True),
)

INTEGER = (
    Rule("*", format="affine_int", range={"name": "ema", "momentum": 0.9}, optional=True),
    Rule(_WEIGHT, format="symmetric", granularity="channel", range="minmax", optional=True),
    Rule(_GRADIENT, format="symmetric", range="minmax", rounding="stochastic", optional=True),
    *FULL_PRECISION,
)


def renewed(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Rules of a preset as an older build wrote them, as they are now; they mean the same for its models."""
    return tuple(FULL_PRECISION[0] if rule in _FIRST_BEFORE else rule for rule in rules)


def _cpt(low: int, high: int, num_grad_bits: int) -> QuantizationConfig:
    schedule = ScheduleConfig(name="CR", min_bits=low, num_cycles=32)
    return QuantizationConfig(num_bits=high, num_grad_bits=num_grad_bits, schedule=schedule, rules=FULL_PRECISION)


def _integer(num_bits: int, num_grad_bits: int, *rules: Rule) -> QuantizationConfig:
    return QuantizationConfig(
        num_bits=num_bits, num_grad_bits=num_grad_bits, schedule=_CONSTANT, rules=(*INTEGER, *rules)
    )


def _mixed(ffn: int, attention: int) -> QuantizationConfig:
    pinned = (Rule(_FFN, bits=ffn), Rule(_ATTENTION, bits=attention))
    # a rule with bits turns quantizers on; attention's output stays off as everywhere
    return _integer(max(ffn, attention), 8, *pinned, FULL_PRECISION[1])


def _formats(num_bits: int, everywhere: Format, gradients: Format) -> QuantizationConfig:
    """Formats of fixed width for weights and activations, and one of 8 bits for gradients; all to nearest."""
    rules = (
        Rule("*", format=everywhere, range="minmax", rounding="nearest", optional=True),
        Rule(_GRADIENT, format=gradients, optional=True),
        *FULL_PRECISION,
    )
    return QuantizationConfig(num_bits=num_bits, num_grad_bits=8, schedule=_CONSTANT, rules=rules)


def _weights(num_bits: int, weight: Rule) -> QuantizationConfig:
    """Weights alone."""
    rules = (Rule(_NOT_WEIGHT, quantize=False, optional=True), weight, *FULL_PRECISION)
    return QuantizationConfig(num_bits=num_bits, num_grad_bits=0, schedule=_CONSTANT, rules=rules)


def _weight(format: Format, granularity: str = "channel", learned: Optional[str] = None) -> Rule:
    """The rule for weights where nothing else is quantized."""
    return Rule(_WEIGHT, format=format, granularity=granularity, learned=learned, optional=True)


def _scaled(name: str) -> Format:
    return {"format": name, "scaled": True}


class Presets(Mapping[str, QuantizationConfig]):
    """Presets by name: those of this file, and recipes, whose files are read when they are asked for."""

    def __getitem__(self, name: str) -> QuantizationConfig:
        if name in _OWN:
            return _OWN[name]
        if name not in recipe_names():
            raise KeyError(name)
        recipe = read_recipe(name)
        return replace(recipe, rules=(*recipe.rules, *FULL_PRECISION))

    def __iter__(self) -> Iterator[str]:
        yield from _OWN
        yield from recipe_names()

    def __len__(self) -> int:
        return len(_OWN) + len(recipe_names())


_OWN: dict[str, QuantizationConfig] = {
    "none": QuantizationConfig(),
    "cpt": _cpt(3, 8, 8),
    "cpt_3_8": _cpt(3, 8, 8),
    "cpt_4_8": _cpt(4, 8, 8),
    "cpt_8_16": _cpt(8, 16, 16),
    "int16": _integer(16, 16),
    "int8": _integer(8, 8),
    "int4": _integer(4, 8),
    "ffn4_mha16": _mixed(4, 16),
    "ffn16_mha4": _mixed(16, 4),
    "fp8": _formats(8, _scaled("fp8_e4m3"), _scaled("fp8_e5m2")),
    "mxfp8": _formats(8, "mxfp8_e4m3", "mxfp8_e4m3"),
    "mxfp6": _formats(6, "mxfp6_e3m2", "mxfp8_e4m3"),
    "mxfp4": _formats(4, "mxfp4", "mxfp8_e4m3"),
    "nvfp4": _formats(4, "nvfp4", "mxfp8_e4m3"),
    "w8": _weights(8, _weight("symmetric")),
    "w4": _weights(4, _weight("symmetric", "group:32")),
    "w2": _weights(2, _weight("symmetric", learned="scale")),
    "ternary": _weights(2, _weight("ternary")),
    "binary": _weights(1, _weight("binary")),
    "w8a8": _integer(8, 0),
}
PRESETS = Presets()
