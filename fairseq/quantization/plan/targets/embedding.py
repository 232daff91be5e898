"""Embeddings: tables in which rows are looked up."""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.embedding import QEmbedding, TableQuantizer
from fairseq.quantization.plan.target import QuantizationTarget, Specs, register_target, retype
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import WEIGHT


@register_target(nn.Embedding)
class EmbeddingTarget(QuantizationTarget):
    """nn.Embedding: quantized only where a rule says so."""

    converts_by_default = False
    keeps_codes = True
    multiplies = False
    supports = "nn.Embedding (where a rule says so)"

    @classmethod
    def of(cls, path: str, module: Any) -> Optional[QuantizationTarget]:
        # a subclass with a forward of its own looks rows up by other means, unless it is a QEmbedding and calls that
        usual = isinstance(module, QEmbedding) or type(module).forward is nn.Embedding.forward
        return cls(path, module) if usual else None

    def __init__(self, path: str, module: nn.Embedding):
        super().__init__(path, module)
        self.quantizers = {"weight": (f"{path}.weight".lstrip("."), WEIGHT)}

    def product(self, key: Any) -> Optional[str]:
        return None  # rows are looked up, nothing is multiplied

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QEmbedding)
        layer.quantizers = TableQuantizer(self.path, layer.weight, self.own(specs)["weight"], context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Any = getattr(self.module, "quantizers", None)
        return [] if quantizers is None else [(quantizers.weight, self.module.weight)]  # type: ignore[list-item]
