"""Datasets: dictionaries, indexed files, wrappers that change items, batch iterators.

Names are imported from their modules when first used, so `import fairseq.data` costs nothing.
"""

import importlib
from typing import Any

_MODULES = {
    "append_token_dataset": ["AppendTokenDataset"],
    "backtranslation_dataset": ["BacktranslationDataset"],
    "base_wrapper_dataset": ["BaseWrapperDataset"],
    "bucket_pad_length_dataset": ["BucketPadLengthDataset"],
    "colorize_dataset": ["ColorizeDataset"],
    "concat_dataset": ["ConcatDataset"],
    "concat_sentences_dataset": ["ConcatSentencesDataset"],
    "denoising_dataset": ["DenoisingDataset"],
    "dictionary": ["Dictionary", "TruncatedDictionary"],
    "fairseq_dataset": ["FairseqDataset", "FairseqIterableDataset"],
    "fasta_dataset": ["EncodedFastaDataset", "FastaDataset"],
    "id_dataset": ["IdDataset"],
    "indexed_dataset": ["IndexedCachedDataset", "IndexedDataset", "IndexedRawTextDataset", "MMapIndexedDataset"],
    "iterators": ["CountingIterator", "EpochBatchIterator", "GroupedIterator", "ShardedIterator"],
    "language_pair_dataset": ["LanguagePairDataset"],
    "list_dataset": ["ListDataset"],
    "lm_context_window_dataset": ["LMContextWindowDataset"],
    "lru_cache_dataset": ["LRUCacheDataset"],
    "mask_tokens_dataset": ["MaskTokensDataset"],
    "monolingual_dataset": ["MonolingualDataset"],
    "multi_corpus_sampled_dataset": ["MultiCorpusSampledDataset"],
    "multilingual.sampled_multi_dataset": ["SampledMultiDataset"],
    "multilingual.sampled_multi_epoch_dataset": ["SampledMultiEpochDataset"],
    "nested_dictionary_dataset": ["NestedDictionaryDataset"],
    "noising": ["NoisingDataset"],
    "num_samples_dataset": ["NumSamplesDataset"],
    "numel_dataset": ["NumelDataset"],
    "offset_tokens_dataset": ["OffsetTokensDataset"],
    "pad_dataset": ["LeftPadDataset", "PadDataset", "RightPadDataset"],
    "padding_mask_dataset": ["LeftPaddingMaskDataset", "PaddingMaskDataset", "RightPaddingMaskDataset"],
    "prepend_dataset": ["PrependDataset"],
    "prepend_token_dataset": ["PrependTokenDataset"],
    "raw_label_dataset": ["RawLabelDataset"],
    "replace_dataset": ["ReplaceDataset"],
    "resampling_dataset": ["ResamplingDataset"],
    "roll_dataset": ["RollDataset"],
    "round_robin_zip_datasets": ["RoundRobinZipDatasets"],
    "shorten_dataset": ["RandomCropDataset", "TruncateDataset"],
    "sort_dataset": ["SortDataset"],
    "strip_token_dataset": ["StripTokenDataset"],
    "subsample_dataset": ["SubsampleDataset"],
    "token_block_dataset": ["TokenBlockDataset"],
    "transform_eos_concat_langpair_dataset": ["TransformEosConcatLangPairDataset"],
    "transform_eos_dataset": ["TransformEosDataset"],
    "transform_eos_lang_pair_dataset": ["TransformEosLangPairDataset"],
}
_SUBMODULES = [*_MODULES, "data_utils", "encoders"]
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_SUBMODULES])
