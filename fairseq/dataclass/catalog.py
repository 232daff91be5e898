"""Which config dataclass belongs to which component: (group, name) -> dataclass.

Built-ins are listed as `"module:Class"` and imported on first use, so that reading a config needs no torch and no model
code. Plugins add theirs through the `@register_...` decorators, which call `register`.

>>> group("optimizer")["adam"].__name__
'AdamConfig'
"""

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any

_HERE = "fairseq.dataclass"

BUILTINS: dict[str, dict[str, str]] = {
    "task": {
        "sentence_prediction": f"{_HERE}.tasks:SentencePredictionConfig",
        "sentence_ranking": f"{_HERE}.tasks:SentenceRankingConfig",
        "masked_lm": f"{_HERE}.tasks:MaskedLMConfig",
    },
    "model": {
        "roberta": f"{_HERE}.models:RobertaConfig",
        "roberta_base": f"{_HERE}.models:RobertaConfig",
        "roberta_prenorm": f"{_HERE}.models:RobertaPrenormConfig",
        "roberta_large": f"{_HERE}.models:RobertaLargeConfig",
        "xlm": f"{_HERE}.models:XLMConfig",
        "transformer": f"{_HERE}.transformer_sizes:TransformerModelConfig",
        "transformer_tiny": f"{_HERE}.transformer_sizes:TransformerTinyConfig",
        "transformer_iwslt_de_en": f"{_HERE}.transformer_sizes:TransformerIwsltConfig",
        "transformer_wmt_en_de": f"{_HERE}.transformer_sizes:TransformerModelConfig",
        "transformer_vaswani_wmt_en_de_big": f"{_HERE}.transformer_sizes:TransformerBigConfig",
        "transformer_vaswani_wmt_en_fr_big": f"{_HERE}.transformer_sizes:TransformerBigEnFrConfig",
        "transformer_wmt_en_de_big": f"{_HERE}.transformer_sizes:TransformerBigAttentionDropoutConfig",
        "transformer_wmt_en_de_big_t2t": f"{_HERE}.transformer_sizes:TransformerBigPrenormConfig",
    },
    "criterion": {
        "cross_entropy": f"{_HERE}.criterions:CrossEntropyConfig",
        "sentence_prediction": f"{_HERE}.criterions:SentencePredictionCriterionConfig",
        "label_smoothed_cross_entropy": f"{_HERE}.criterions:LabelSmoothedCrossEntropyConfig",
        "masked_lm": f"{_HERE}.criterions:MaskedLmCriterionConfig",
        "sentence_ranking": f"{_HERE}.criterions:SentenceRankingCriterionConfig",
    },
    "optimizer": {
        "adam": f"{_HERE}.optimizers:AdamConfig",
        "sgd": f"{_HERE}.optimizers:SGDConfig",
        "nag": f"{_HERE}.optimizers:NAGConfig",
        "adagrad": f"{_HERE}.optimizers:AdagradConfig",
        "adadelta": f"{_HERE}.optimizers:AdadeltaConfig",
        "adamax": f"{_HERE}.optimizers:AdamaxConfig",
    },
    "lr_scheduler": {
        "fixed": f"{_HERE}.lr_schedulers:FixedConfig",
        "polynomial_decay": f"{_HERE}.lr_schedulers:PolynomialDecayConfig",
        "inverse_sqrt": f"{_HERE}.lr_schedulers:InverseSqrtConfig",
        "cosine": f"{_HERE}.lr_schedulers:CosineConfig",
        "tri_stage": f"{_HERE}.lr_schedulers:TriStageConfig",
        "triangular": f"{_HERE}.lr_schedulers:TriangularConfig",
        "reduce_lr_on_plateau": f"{_HERE}.lr_schedulers:ReduceLROnPlateauConfig",
        "step": f"{_HERE}.lr_schedulers:StepConfig",
        "pass_through": f"{_HERE}.lr_schedulers:PassThroughConfig",
    },
    "bpe": {
        "gpt2": f"{_HERE}.encoders:GPT2BPEConfig",
        "hf_byte_bpe": f"{_HERE}.encoders:HuggingFaceByteLevelBPEConfig",
        "bert": f"{_HERE}.encoders:BertBPEConfig",
        "hf_tokenizer": f"{_HERE}.encoders:HuggingFaceTokenizerConfig",
        "characters": f"{_HERE}.encoders:CharactersConfig",
    },
    "tokenizer": {
        "space": f"{_HERE}.encoders:SpaceTokenizerConfig",
    },
    "scoring": {
        "bleu": f"{_HERE}.scoring:BleuConfig",
        "sacrebleu": f"{_HERE}.scoring:SacrebleuConfig",
    },
}


class _Group(MutableMapping):
    """One config group as a mapping from component name to dataclass."""

    def __init__(self, builtins: dict[str, str]):
        self._entries: dict[str, Any] = dict(builtins)

    def __getitem__(self, name: str) -> Any:
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return entry

    def __setitem__(self, name: str, dataclass: Any) -> None:
        self._entries[name] = dataclass

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


_GROUPS: dict[str, _Group] = {name: _Group(builtins) for name, builtins in BUILTINS.items()}


def group(name: str) -> _Group:
    """The mapping of one group; an unknown group starts empty (plugins may bring their own)."""
    return _GROUPS.setdefault(name, _Group({}))


def register(group_name: str, name: str, dataclass: type) -> None:
    """Make `dataclass` the config of component `name`."""
    group(group_name)[name] = dataclass
