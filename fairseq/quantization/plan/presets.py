"""Ready-made quantizations: names for a config, as data.

| preset | weights, per channel | activations, per tensor | gradients, stochastic | bits |
| --- | --- | --- | --- | --- |
| `cpt_L_H`, `cpt` | affine_float_zp | affine_float_zp, average from 0 | affine_float_zp | cosine, 32 cycles |
| `int16`, `int8`, `int4` | symmetric | affine, averaged range | symmetric | constant |
| `ffn4_mha16`, `ffn16_mha4` | symmetric | affine, averaged range | symmetric | pinned per block |

Heads over the encoder (`classification_heads`, `lm_head`, output projections) and embeddings stay in full precision
unless a rule quantizes them; attention's output is quantized as the input of `out_proj`, so its own quantizer is off,
too.

>>> from fairseq.quantization.plan.config import read_config
>>> read_config("cpt_4_8").schedule
ScheduleConfig(name='CR', min_bits=4, num_cycles=32, options={})
"""

from collections.abc import Mapping

from fairseq.quantization.plan.rules import Rule
from fairseq.quantization.plan.settings import QuantizationConfig, ScheduleConfig

_CONSTANT = ScheduleConfig(name="constant")
_FFN, _ATTENTION = r"re:.*\b(fc[12]|linear[12])\.(weight|input)", r"re:.*\b(self_attn|encoder_attn)\b.*"

FULL_PRECISION = (
    Rule(r"re:(.*\.)?(classification_heads|lm_head|output_projection)\b.*", quantize=False, optional=True),
    Rule(r"re:(.*\.)?output", quantize=False, optional=True),
)

INTEGER = (
    Rule("*", format="affine_int", range={"name": "ema", "momentum": 0.9}, optional=True),
    Rule("re:(.*\\.)?weight", format="symmetric", granularity="channel", range="minmax", optional=True),
    Rule("re:(.*\\.)?grad_output", format="symmetric", range="minmax", rounding="stochastic", optional=True),
    *FULL_PRECISION,
)


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


PRESETS: Mapping[str, QuantizationConfig] = {
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
}
