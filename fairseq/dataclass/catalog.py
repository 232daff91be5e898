"""The built-in components, one line each, and the config dataclass of every component, plugins included.

A line names the config and the module that holds the component. Both are imported on first use, so that reading a
config needs no torch and no model code. The registries (`fairseq.registry`, `fairseq.models.registries`,
`fairseq.tasks`) take the names and modules of built-ins from here. Plugins are not listed: their `@register_...`
decorators call `register`.

>>> group("optimizer")["adam"].__name__, modules("optimizer")["adam"]
('AdamConfig', 'fairseq.optim.adam')
>>> list(SIZES["roberta"])
['roberta_base', 'roberta_prenorm', 'roberta_large', 'xlm']
"""

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any, NamedTuple


class Builtin(NamedTuple):
    """Where a built-in component is; modules are given without the package's name in front.

    Args:
        config: its config dataclass, `"module:Class"`, in `fairseq.dataclass`.
        module: the module of `fairseq` whose `@register_...` decorator registers it.
    """

    config: str
    module: str


BUILTINS: dict[str, dict[str, Builtin]] = {
    "task": {
        "sentence_prediction": Builtin("tasks:SentencePredictionConfig", "tasks.sentence_prediction"),
        "sentence_ranking": Builtin("tasks:SentenceRankingConfig", "tasks.sentence_ranking"),
        "masked_lm": Builtin("tasks:MaskedLMConfig", "tasks.masked_lm"),
        "multilingual_masked_lm": Builtin("pretraining:MultilingualMaskedLMConfig", "tasks.multilingual_masked_lm"),
        "span_masked_lm": Builtin("pretraining:SpanMaskedLMConfig", "tasks.span_masked_lm"),
        "denoising": Builtin("pretraining:DenoisingConfig", "tasks.denoising"),
        "multilingual_denoising": Builtin("pretraining:MultilingualDenoisingConfig", "tasks.multilingual_denoising"),
        "language_modeling": Builtin("tasks:LanguageModelingConfig", "tasks.language_modeling"),
        "multilingual_language_modeling": Builtin(
            "language_tasks:MultilingualLanguageModelingConfig", "tasks.multilingual_language_modeling"
        ),
        "translation": Builtin("tasks:TranslationConfig", "tasks.translation"),
        "translation_lev": Builtin("refining_tasks:TranslationLevenshteinConfig", "tasks.translation_lev"),
        "multilingual_translation": Builtin(
            "multilingual:MultilingualTranslationConfig", "tasks.multilingual_translation"
        ),
        "translation_multi_simple_epoch": Builtin(
            "multilingual:TranslationMultiSimpleEpochConfig", "tasks.translation_multi_simple_epoch"
        ),
        "translation_from_pretrained_bart": Builtin(
            "pretraining:TranslationFromPretrainedBARTConfig", "tasks.translation_from_pretrained_bart"
        ),
    },
    "model": {
        "roberta": Builtin("models:RobertaConfig", "models.roberta"),
        "roberta_enc_dec": Builtin("models:RobertaEncDecConfig", "models.roberta.enc_dec"),
        "transformer": Builtin("transformer_sizes:TransformerModelConfig", "models.transformer"),
        "bart": Builtin("bart:BartLargeConfig", "models.bart"),
        "transformer_lm": Builtin("language_models:TransformerLanguageModelConfig", "models.transformer_lm"),
        "fconv": Builtin("convolutional_models:FConvConfig", "models.fconv"),
        "fconv_lm": Builtin("convolutional_models:FConvLanguageModelConfig", "models.fconv_lm"),
        "transformer_align": Builtin("transformer_sizes:TransformerAlignConfig", "models.transformer_align"),
        "lightconv": Builtin("lightconv_models:LightConvConfig", "models.lightconv"),
        "lightconv_lm": Builtin("lightconv_models:LightConvLanguageModelConfig", "models.lightconv_lm"),
        "lstm": Builtin("recurrent_models:LSTMConfig", "models.lstm"),
        "lstm_lm": Builtin("recurrent_models:LSTMLanguageModelConfig", "models.lstm_lm"),
        "nonautoregressive_transformer": Builtin(
            "refining_models:NonautoregressiveTransformerConfig", "models.nat.nonautoregressive_transformer"
        ),
        "cmlm_transformer": Builtin("refining_models:CMLMTransformerConfig", "models.nat.cmlm_transformer"),
        "iterative_nonautoregressive_transformer": Builtin(
            "refining_models:IterativeTransformerConfig", "models.nat.iterative_nonautoregressive_transformer"
        ),
        "levenshtein_transformer": Builtin(
            "refining_models:LevenshteinTransformerConfig", "models.nat.levenshtein_transformer"
        ),
        "insertion_transformer": Builtin(
            "refining_models:InsertionTransformerConfig", "models.nat.insertion_transformer"
        ),
        "nacrf_transformer": Builtin("refining_models:NACRFTransformerConfig", "models.nat.nat_crf_transformer"),
        "multilingual_transformer": Builtin(
            "multilingual_models:MultilingualTransformerConfig", "models.multilingual_transformer"
        ),
    },
    "criterion": {
        "cross_entropy": Builtin("criterions:CrossEntropyConfig", "criterions.cross_entropy"),
        "adaptive_loss": Builtin("criterions:AdaptiveLossConfig", "criterions.adaptive_loss"),
        "sentence_prediction": Builtin(
            "criterions:SentencePredictionCriterionConfig", "criterions.sentence_prediction"
        ),
        "label_smoothed_cross_entropy": Builtin(
            "criterions:LabelSmoothedCrossEntropyConfig", "criterions.label_smoothed_cross_entropy"
        ),
        "label_smoothed_cross_entropy_with_alignment": Builtin(
            "criterions:LabelSmoothedCrossEntropyWithAlignmentConfig",
            "criterions.label_smoothed_cross_entropy_with_alignment",
        ),
        "label_smoothed_cross_entropy_with_rdrop": Builtin(
            "criterions:RdropLabelSmoothedCrossEntropyConfig", "criterions.label_smoothed_cross_entropy_with_rdrop"
        ),
        "nat_loss": Builtin("criterions:LabelSmoothedDualImitationConfig", "criterions.nat_loss"),
        "masked_lm": Builtin("criterions:MaskedLmCriterionConfig", "criterions.masked_lm"),
        "sentence_ranking": Builtin("criterions:SentenceRankingCriterionConfig", "criterions.sentence_ranking"),
    },
    "optimizer": {
        "adam": Builtin("optimizers:AdamConfig", "optim.adam"),
        "sgd": Builtin("optimizers:SGDConfig", "optim.sgd"),
        "nag": Builtin("optimizers:NAGConfig", "optim.nag"),
        "adagrad": Builtin("optimizers:AdagradConfig", "optim.adagrad"),
        "adadelta": Builtin("optimizers:AdadeltaConfig", "optim.adadelta"),
        "adamax": Builtin("optimizers:AdamaxConfig", "optim.adamax"),
        "composite": Builtin("optimizers:CompositeOptimizerConfig", "optim.composite"),
        "adafactor": Builtin("optimizers:AdafactorConfig", "optim.adafactor"),
    },
    "lr_scheduler": {
        "fixed": Builtin("lr_schedulers:FixedConfig", "optim.lr_scheduler.fixed_schedule"),
        "polynomial_decay": Builtin(
            "lr_schedulers:PolynomialDecayConfig", "optim.lr_scheduler.polynomial_decay_schedule"
        ),
        "inverse_sqrt": Builtin("lr_schedulers:InverseSqrtConfig", "optim.lr_scheduler.inverse_square_root_schedule"),
        "cosine": Builtin("lr_schedulers:CosineConfig", "optim.lr_scheduler.cosine_lr_scheduler"),
        "tri_stage": Builtin("lr_schedulers:TriStageConfig", "optim.lr_scheduler.tri_stage_lr_scheduler"),
        "triangular": Builtin("lr_schedulers:TriangularConfig", "optim.lr_scheduler.triangular_lr_scheduler"),
        "reduce_lr_on_plateau": Builtin(
            "lr_schedulers:ReduceLROnPlateauConfig", "optim.lr_scheduler.reduce_lr_on_plateau"
        ),
        "step": Builtin("lr_schedulers:StepConfig", "optim.lr_scheduler.step_lr_scheduler"),
        "manual": Builtin("lr_schedulers:ManualConfig", "optim.lr_scheduler.manual_lr_scheduler"),
        "pass_through": Builtin("lr_schedulers:PassThroughConfig", "optim.lr_scheduler.pass_through"),
    },
    "bpe": {
        "gpt2": Builtin("encoders:GPT2BPEConfig", "data.encoders.gpt2_bpe"),
        "hf_byte_bpe": Builtin("encoders:HuggingFaceByteLevelBPEConfig", "data.encoders.hf_byte_bpe"),
        "bert": Builtin("encoders:BertBPEConfig", "data.encoders.hf_tokenizer"),
        "hf_tokenizer": Builtin("encoders:HuggingFaceTokenizerConfig", "data.encoders.hf_tokenizer"),
        "characters": Builtin("encoders:CharactersConfig", "data.encoders.characters"),
        "bytes": Builtin("encoders:BytesConfig", "data.encoders.bytes"),
        "sentencepiece": Builtin("encoders:SentencepieceConfig", "data.encoders.sentencepiece_bpe"),
        "byte_bpe": Builtin("encoders:ByteBpeConfig", "data.encoders.byte_bpe"),
        "subword_nmt": Builtin("encoders:SubwordNMTBPEConfig", "data.encoders.subword_nmt_bpe"),
        "fastbpe": Builtin("encoders:FastBPEConfig", "data.encoders.fastbpe"),
    },
    "tokenizer": {
        "moses": Builtin("encoders:MosesTokenizerConfig", "data.encoders.moses_tokenizer"),
        "nltk": Builtin("encoders:NLTKTokenizerConfig", "data.encoders.nltk_tokenizer"),
        "space": Builtin("encoders:SpaceTokenizerConfig", "data.encoders.space_tokenizer"),
    },
    "scoring": {
        "bleu": Builtin("scoring:BleuConfig", "scoring.bleu"),
        "sacrebleu": Builtin("scoring:SacrebleuConfig", "scoring.bleu"),
        "chrf": Builtin("scoring:ChrFConfig", "scoring.chrf"),
        "wer": Builtin("scoring:WerConfig", "scoring.wer"),
        "meteor": Builtin("scoring:MeteorConfig", "scoring.meteor"),
        "bert_score": Builtin("scoring:BertScoreConfig", "scoring.bertscore"),
    },
}

# named sizes (architectures) of those models: model -> size -> config
SIZES: dict[str, dict[str, str]] = {
    "roberta": {
        "roberta_base": "models:RobertaConfig",
        "roberta_prenorm": "models:RobertaPrenormConfig",
        "roberta_large": "models:RobertaLargeConfig",
        "xlm": "models:XLMConfig",
    },
    "transformer": {
        "transformer_tiny": "transformer_sizes:TransformerTinyConfig",
        "transformer_iwslt_de_en": "transformer_sizes:TransformerIwsltConfig",
        "transformer_wmt_en_de": "transformer_sizes:TransformerModelConfig",
        "transformer_vaswani_wmt_en_de_big": "transformer_sizes:TransformerBigConfig",
        "transformer_vaswani_wmt_en_fr_big": "transformer_sizes:TransformerBigEnFrConfig",
        "transformer_wmt_en_de_big": "transformer_sizes:TransformerBigAttentionDropoutConfig",
        "transformer_wmt_en_de_big_t2t": "transformer_sizes:TransformerBigPrenormConfig",
    },
    "nonautoregressive_transformer": {
        "nonautoregressive_transformer_wmt_en_de": "refining_models:NonautoregressiveTransformerConfig",
    },
    "cmlm_transformer": {"cmlm_transformer_wmt_en_de": "refining_models:CMLMTransformerConfig"},
    "iterative_nonautoregressive_transformer": {
        "iterative_nonautoregressive_transformer_wmt_en_de": "refining_models:IterativeTransformerConfig",
    },
    "levenshtein_transformer": {
        "levenshtein_transformer_wmt_en_de": "refining_models:LevenshteinTransformerConfig",
        "levenshtein_transformer_vaswani_wmt_en_de_big": "refining_models:LevenshteinBigConfig",
        "levenshtein_transformer_wmt_en_de_big": "refining_models:LevenshteinBigPrenormConfig",
    },
    "multilingual_transformer": {
        "multilingual_transformer_iwslt_de_en": "multilingual_models:MultilingualTransformerIwsltConfig",
    },
    "bart": {
        "bart_base": "bart:BartBaseConfig",
        "bart_large": "bart:BartLargeConfig",
        "mbart_base": "bart:MBartBaseConfig",
        "mbart_large": "bart:MBartLargeConfig",
        "mbart_base_wmt20": "bart:MBartBaseWmt20Config",
    },
    "transformer_lm": {
        "transformer_lm_big": "language_models:LMBigConfig",
        "transformer_lm_baevski_wiki103": "language_models:LMWiki103Config",
        "transformer_lm_wiki103": "language_models:LMWiki103Config",
        "transformer_lm_baevski_gbw": "language_models:LMGbwConfig",
        "transformer_lm_gbw": "language_models:LMGbwConfig",
        "transformer_lm_gpt": "language_models:LMGptConfig",
        "transformer_lm_gpt2_small": "language_models:LMGpt2SmallConfig",
        "transformer_lm_gpt2_tiny": "language_models:LMGpt2TinyConfig",
        "transformer_lm_gpt2_medium": "language_models:LMGpt2MediumConfig",
        "transformer_lm_gpt2_big": "language_models:LMGpt2BigConfig",
        "transformer_lm_gpt2_big_wide": "language_models:LMGpt2BigWideConfig",
        "transformer_lm_gpt2_bigger": "language_models:LMGpt2BiggerConfig",
        "transformer_lm_gpt3_small": "language_models:LMGpt3SmallConfig",
        "transformer_lm_gpt3_medium": "language_models:LMGpt3MediumConfig",
        "transformer_lm_gpt3_large": "language_models:LMGpt3LargeConfig",
        "transformer_lm_gpt3_xl": "language_models:LMGpt3XlConfig",
        "transformer_lm_gpt3_2_7": "language_models:LMGpt3B2Config",
        "transformer_lm_gpt3_6_7": "language_models:LMGpt3B6Config",
        "transformer_lm_gpt3_13": "language_models:LMGpt3B13Config",
        "transformer_lm_gpt3_175": "language_models:LMGpt3B175Config",
    },
    "fconv": {
        "fconv_iwslt_de_en": "convolutional_models:FConvIwsltConfig",
        "fconv_wmt_en_ro": "convolutional_models:FConvEnRoConfig",
        "fconv_wmt_en_de": "convolutional_models:FConvEnDeConfig",
        "fconv_wmt_en_fr": "convolutional_models:FConvEnFrConfig",
    },
    "fconv_lm": {
        "fconv_lm_dauphin_wikitext103": "convolutional_models:FConvWikiText103Config",
        "fconv_lm_dauphin_gbw": "convolutional_models:FConvGbwConfig",
    },
    "transformer_align": {"transformer_wmt_en_de_big_align": "transformer_sizes:TransformerBigAlignConfig"},
    "lightconv": {
        "lightconv_iwslt_de_en": "lightconv_models:LightConvIwsltConfig",
        "lightconv_wmt_en_de": "lightconv_models:LightConvConfig",
        "lightconv_wmt_en_de_big": "lightconv_models:LightConvBigConfig",
        "lightconv_wmt_en_fr_big": "lightconv_models:LightConvBigEnFrConfig",
        "lightconv_wmt_zh_en_big": "lightconv_models:LightConvBigZhEnConfig",
    },
    "lightconv_lm": {"lightconv_lm_gbw": "lightconv_models:LightConvGbwConfig"},
    "lstm": {
        "lstm_wiseman_iwslt_de_en": "recurrent_models:LSTMWisemanConfig",
        "lstm_luong_wmt_en_de": "recurrent_models:LSTMLuongConfig",
    },
}
for _model, _sizes in SIZES.items():
    _module = BUILTINS["model"][_model].module
    BUILTINS["model"].update({size: Builtin(config, _module) for size, config in _sizes.items()})


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


_GROUPS: dict[str, _Group] = {
    name: _Group({component: f"fairseq.dataclass.{builtin.config}" for component, builtin in builtins.items()})
    for name, builtins in BUILTINS.items()
}


def group(name: str) -> _Group:
    """The mapping of one group; an unknown group starts empty (plugins may bring their own)."""
    return _GROUPS.setdefault(name, _Group({}))


def register(group_name: str, name: str, dataclass: type) -> None:
    """Make `dataclass` the config of component `name`."""
    group(group_name)[name] = dataclass


def modules(group_name: str) -> dict[str, str]:
    """Built-in name -> module that registers it; named sizes of models included."""
    return {name: f"fairseq.{builtin.module}" for name, builtin in BUILTINS.get(group_name, {}).items()}
