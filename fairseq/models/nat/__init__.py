"""Models that write whole sentences at once and refine them; a model is imported when its name is looked up.

>>> from fairseq.models.nat import CMLMNATransformerModel, levenshtein_transformer
>>> CMLMNATransformerModel.__module__
'fairseq.models.nat.cmlm_transformer'
"""

import importlib
from typing import Any

_NAMES = {
    "cmlm_transformer": "CMLMNATransformerModel cmlm_base_architecture cmlm_wmt_en_de",
    "fairseq_nat_model": (
        "FairseqNATDecoder FairseqNATEncoder FairseqNATModel TransformerDecoder TransformerEncoder TransformerModel"
        " ensemble_decoder ensemble_encoder init_bert_params"
    ),
    "insertion_transformer": (
        "InsertionTransformerDecoder InsertionTransformerModel NegativeDistanceScore insertion_base_architecture"
        " neg_scorer"
    ),
    "iterative_nonautoregressive_transformer": (
        "IterNATransformerModel gumbel_noise inat_base_architecture iter_nat_wmt_en_de"
    ),
    "levenshtein_transformer": (
        "DecoderOut LevenshteinTransformerDecoder LevenshteinTransformerModel levenshtein_base_architecture"
        " levenshtein_transformer_vaswani_wmt_en_de_big levenshtein_transformer_wmt_en_de"
        " levenshtein_transformer_wmt_en_de_big_t2t"
    ),
    "nat_crf_transformer": "DynamicCRF NACRFTransformerModel nacrf_base_architecture",
    "nonautoregressive_transformer": (
        "NATransformerDecoder NATransformerModel base_architecture nonautoregressive_transformer_wmt_en_de"
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _NAMES or name == "levenshtein_utils":
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
