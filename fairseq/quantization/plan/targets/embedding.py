"""Embeddings: tables in which rows are looked up, alone or in bags."""

from typing import Any, Optional

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.embedding import TABLE_ROLES, QEmbedding, QEmbeddingBag, TableQuantizers
from fairseq.quantization.plan.target import QuantizationTarget, Specs, register_target, retype
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget
from fairseq.quantization.quantizer import Quantizer


def table_quantizers(path: str) -> dict[str, tuple[str, str]]:
    """Quantizers of the table at `path`."""
    return {key: (f"{path}.{key}".lstrip("."), role) for key, role in TABLE_ROLES.items()}


@register_target(nn.Embedding, nn.EmbeddingBag)
class EmbeddingTarget(QuantizationTarget):
    """nn.Embedding or nn.EmbeddingBag: quantized only where a rule says so."""

    module: Any
    converts_by_default = False
    keeps_codes = True
    multiplies = False
    supports = "nn.Embedding and nn.EmbeddingBag (where a rule says so)"

    @classmethod
    def of(cls, path: str, module: Any) -> Optional[QuantizationTarget]:
        # a subclass with a forward of its own looks rows up by other means, unless it is a QEmbedding and calls that
        if is_parametrized(module):
            return HiddenTable(path, module, "its weight is parametrized")
        usual = nn.Embedding.forward, nn.EmbeddingBag.forward
        own = isinstance(module, (QEmbedding, QEmbeddingBag)) or type(module).forward in usual
        return cls(path, module) if own else None

    def __init__(self, path: str, module: nn.Module):
        super().__init__(path, module)
        self.quantizers = table_quantizers(path)

    def product(self, key: Any) -> Optional[str]:
        return None  # rows are looked up, nothing is multiplied

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QEmbeddingBag if isinstance(self.module, nn.EmbeddingBag) else QEmbedding)
        layer.quantizers = TableQuantizers(self.path, layer.weight, self.own(specs), context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Optional[TableQuantizers] = getattr(self.module, "quantizers", None)
        return [] if quantizers is None else [(quantizers.quantizer("weight"), self.module.weight)]


class HiddenTable(UnsupportedTarget):
    """An embedding whose table no quantizer would see."""

    converts_by_default = False
    multiplies = False

    def __init__(self, path: str, module: nn.Module, reason: str):
        super().__init__(path, module, reason)
        self.quantizers = table_quantizers(path)
