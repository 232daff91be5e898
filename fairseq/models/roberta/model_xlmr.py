"""Where fairseq users import XLMRModel from."""

from fairseq.models.roberta.variants import XLMRModel

__all__ = ["XLMRModel"]
