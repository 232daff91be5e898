"""Which settings allow a product on integer codes.

A scale can be taken out of a sum only if it does not change along it, and only where the levels are evenly spaced; and
codes can stand for values only where nothing else wants the values themselves.

>>> tensor, groups = QuantizerSpec(), QuantizerSpec(granularity="group:64")
>>> obstacle(("x", groups), ("w", tensor), ("g", tensor))
'x has granularity group:64, whose scales change along the contraction'
>>> obstacle(("x", tensor), ("w", tensor), ("g", tensor)) is None
True
"""

from typing import Optional

from fairseq.errors import ConfigError
from fairseq.quantization.formats import build_format
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import WEIGHT, QuantizerSpec

Named = tuple[str, QuantizerSpec]  # a quantizer's path and settings


def obstacle(left: Named, right: Named, grad: Named, right_role: str = "activation") -> Optional[str]:
    """Why settings do not allow a product on codes; None if they do.

    Args:
        left, right: the operands' quantizers.
        grad: the output gradient's.
        right_role: `weight` in a linear layer, whose scales may differ by row.
    """
    reason = without_kernel(left, right, grad)
    if reason is not None:
        return reason
    for role, (path, spec) in (("activation", left), (right_role, right)):
        granularity = Granularity.parse(spec.granularity, axis=0 if role == WEIGHT else -1, where=path)
        by_row = role == WEIGHT and granularity.kind == "channel" and granularity.number == 0
        if granularity.kind not in ("tensor", "token") and not by_row:
            return f"{path} has granularity {granularity}, whose scales change along the contraction"
        if spec.learned != "none":
            return f"{path} learns its {spec.learned}, for which the rounded values are needed"
        if spec.transform != "none":
            return f"{path} has transform {spec.transform}, which the values are needed for"
        if spec.ste != "plain":
            return f"{path} has ste {spec.ste}, for which the values outside the grid are needed"
    path, spec = grad
    granularity = Granularity.parse(spec.granularity, where=path)
    if spec.quantize and granularity.kind != "tensor":
        return f"{path} has granularity {granularity}; integer products need tensor"
    return None


def without_kernel(*named: Named) -> Optional[str]:
    """Which of the quantizers has a format that no integer product can take, and why; None if all can."""
    for path, spec in named:
        number_format = build_format(spec.format)
        if spec.quantize and not number_format.is_uniform:
            return f"{path} has the format {number_format}, whose levels are not evenly spaced"
        if spec.quantize and number_format.block is not None:
            return f"{path} has the format {number_format}, whose scales change along the contraction"
        if spec.quantize and not number_format.takes_range:
            return f"{path} has the format {number_format}, whose levels do not follow the range"
    return None


def multiplies_codes(path: str, left: Quantizer, right: Quantizer, grad: Quantizer) -> bool:
    """Whether the product at `path` runs on codes; `compute: auto`, which only a plan resolves, simulates, and so does
    a format without integer products.

    Raises:
        ConfigError: integers are asked for, and other settings do not allow them.
    """
    named = tuple((quantizer.path, quantizer.spec) for quantizer in (left, right, grad))
    if not left.spec.compute == right.spec.compute == "integer" or without_kernel(*named):
        return False
    refuse_obstacle(path, obstacle(named[0], named[1], named[2], right.role))
    return True


def refuse_obstacle(path: str, reason: Optional[str]) -> None:
    """ConfigError if there is a reason against integers at `path`."""
    if reason is not None:
        raise ConfigError(f"{path or 'layer'}: compute integer is not possible: {reason}; use simulate")
