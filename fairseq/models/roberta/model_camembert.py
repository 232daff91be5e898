"""Where fairseq users import CamembertModel from."""

from fairseq.models.roberta.variants import CamembertModel

__all__ = ["CamembertModel"]
