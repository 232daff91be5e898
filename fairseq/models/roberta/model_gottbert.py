"""Where fairseq users import GottbertModel from."""

from fairseq.models.roberta.variants import GottbertModel

__all__ = ["GottbertModel"]
