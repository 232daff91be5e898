"""Generation; see `fairseq.generation`."""

from fairseq.generation.aligned import EnsembleModelWithAlignment, SequenceGeneratorWithAlignment
from fairseq.generation.ensemble import EnsembleModel
from fairseq.generation.generator import SequenceGenerator

__all__ = ["EnsembleModel", "EnsembleModelWithAlignment", "SequenceGenerator", "SequenceGeneratorWithAlignment"]
