"""What precision is: number formats, ranges, rules, schedules, quantized layers, costs. Needs torch and nothing else
of fairseq.

    from fairseq.quantization import quantize_model
    model = quantize_model(model, "int8")

Names are imported when they are first used: reading a config or computing a schedule does not load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq.quantization.convert import quantize_model as quantize_model
    from fairseq.quantization.convert import remove_quantization as remove_quantization
    from fairseq.quantization.formats import build_format as build_format
    from fairseq.quantization.functional import fake_quantize as fake_quantize
    from fairseq.quantization.integer_weights import keep_integer_weights as keep_integer_weights
    from fairseq.quantization.integer_weights import parameter_bytes as parameter_bytes
    from fairseq.quantization.integer_weights import restore_float_weights as restore_float_weights
    from fairseq.quantization.layers import MatMul as MatMul
    from fairseq.quantization.layers import QEmbedding as QEmbedding
    from fairseq.quantization.layers import QLinear as QLinear
    from fairseq.quantization.layers import QMatmul as QMatmul
    from fairseq.quantization.metadata_state import load_quantizer_state as load_quantizer_state
    from fairseq.quantization.metadata_state import quantizer_state as quantizer_state
    from fairseq.quantization.plan.config import read_config as read_config
    from fairseq.quantization.plan.presets import PRESETS as PRESETS
    from fairseq.quantization.plan.rules import Rule as Rule
    from fairseq.quantization.plan.settings import QuantizationConfig as QuantizationConfig
    from fairseq.quantization.precision_scheduler import PrecisionScheduler as PrecisionScheduler
    from fairseq.quantization.quantized_model import Quantization as Quantization
    from fairseq.quantization.quantized_model import get_quantization as get_quantization
    from fairseq.quantization.versions import read_plan as read_plan

_HOMES = {
    "QuantizationConfig": "plan.settings",
    "read_config": "plan.config",
    "quantize_model": "convert",
    "remove_quantization": "convert",
    "Quantization": "quantized_model",
    "get_quantization": "quantized_model",
    "build_format": "formats",
    "fake_quantize": "functional",
    "load_quantizer_state": "metadata_state",
    "quantizer_state": "metadata_state",
    "keep_integer_weights": "integer_weights",
    "parameter_bytes": "integer_weights",
    "restore_float_weights": "integer_weights",
    "MatMul": "layers",
    "QEmbedding": "layers",
    "QLinear": "layers",
    "QMatmul": "layers",
    "PRESETS": "plan.presets",
    "Rule": "plan.rules",
    "PrecisionScheduler": "precision_scheduler",
    "read_plan": "versions",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """For completion: also names that have not been imported yet, but not what this file imports."""
    return sorted({*_HOMES, *(name for name in globals() if name.startswith("__"))})
