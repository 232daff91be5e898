"""The place where fairseq users import binarizers from; they live in `fairseq.data.binarize`."""

from fairseq.data.binarize import (
    AlignmentDatasetBinarizer,
    Binarizer,
    BinarizeSummary,
    FileBinarizer,
    LegacyBinarizer,
    VocabularyDatasetBinarizer,
    _worker_prefix,
)

__all__ = [
    "AlignmentDatasetBinarizer",
    "BinarizeSummary",
    "Binarizer",
    "FileBinarizer",
    "LegacyBinarizer",
    "VocabularyDatasetBinarizer",
    "_worker_prefix",
]
