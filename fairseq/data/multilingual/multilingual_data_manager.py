"""What `task=translation_multi_simple_epoch` loads: dictionaries with language tokens, pairs, and their mixture.

A data set has a key, kind of data and pair: `main:de-en`. `main` is the task's folder; `extra_data` names others.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Optional

from fairseq.data import ConcatDataset, Dictionary, LanguagePairDataset, PrependTokenDataset
from fairseq.data.language_pair_files import load_langpair_dataset, pair_is_there
from fairseq.data.multilingual.multilingual_utils import LangTokSpec, augment_dictionary, get_lang_tok
from fairseq.data.multilingual.sampled_multi_dataset import SampledMultiDataset, default_virtual_size_func
from fairseq.data.multilingual.sampled_multi_epoch_dataset import SampledMultiEpochDataset
from fairseq.data.multilingual.sampling_method import SamplingMethod
from fairseq.data.multilingual.settings import as_mapping, boolean, languages_of, split_list, split_pairs
from fairseq.data.transform_eos_lang_pair_dataset import TransformEosLangPairDataset
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists

logger = logging.getLogger(__name__)

SRC_DICT_NAME, TGT_DICT_NAME = "src", "tgt"
MAIN = LangTokSpec.main.value


def _lang_id(dic: Dictionary, lang: str) -> int:
    """The id of a language's token.

    Raises:
        DataError: it is not in the dictionary.
    """
    index = dic.index(lang)
    if index == dic.unk():
        raise DataError(f"cannot find language ID for lang {lang}")
    return index


def load_sampling_weights(from_file: str) -> dict[str, float]:
    """Shares by key of a data set, from a file with a mapping."""
    try:
        with open(from_file, encoding="utf-8") as file:
            return as_mapping(file.read(), f"sampling weights {from_file}")
    except OSError as error:
        raise ConfigError(f"sampling weights {from_file}: {error.strerror}") from None


class MultilingualDatasetManager:
    """Loads the data of many pairs of languages.

    Args:
        args: the task's config.
        lang_pairs: to train, or the one to translate.
        langs: languages that have tokens, in the order of their numbers.
        dicts: by language; with `source_dict` and `target_dict` also `src` and `tgt`.
        sampling_method: a `SamplingMethod`.
    """

    def __init__(
        self, args: Any, lang_pairs: list[str], langs: list[str], dicts: Mapping[str, Dictionary], sampling_method: Any
    ):
        self.args, self.lang_pairs, self.langs, self.dicts = args, lang_pairs, langs, dicts
        self.sampling_method = sampling_method
        self.extra_data = as_mapping(args.extra_data, "--extra-data")
        self.extra_lang_pairs = {
            kind: split_pairs(pairs) for kind, pairs in as_mapping(args.extra_lang_pairs, "--extra-lang-pairs").items()
        }
        if set(self.extra_data) != set(self.extra_lang_pairs):
            raise ConfigError("--extra-data and --extra-lang-pairs name different kinds of data")
        if any(kind.startswith("mono") for kind in self.extra_data):
            raise ConfigError("--extra-data: text in one language (mono...) is not supported; give pairs")
        self.langtoks = as_mapping(args.langtoks, "--langtoks")
        source = None if args.encoder_langtok is None else str(args.encoder_langtok)
        self.langtoks.setdefault(MAIN, (source, "tgt" if args.decoder_langtok else None))
        logger.info(f"langtoks settings: {self.langtoks}")

    @classmethod
    def setup_data_manager(
        cls, args: Any, lang_pairs: list[str], langs: list[str], dicts: Mapping[str, Dictionary], sampling_method: Any
    ) -> "MultilingualDatasetManager":
        return cls(args, lang_pairs, langs, dicts, sampling_method)

    # -- languages and dictionaries ----------------------------------------------------------------------------------

    @staticmethod
    def load_langs(args: Any, **kwargs: Any) -> list[str]:
        """The languages that have tokens, in the order of their ids."""
        if args.langs and args.lang_dict:
            raise ConfigError("--langs and --lang-dict cannot both be specified")
        if args.langs:
            return split_list(args.langs)
        if not args.lang_dict:
            logger.warning(
                "neither --langs nor --lang-dict is given: the languages of --lang-pairs, sorted, have tokens; with "
                "other pairs, as for fine-tuning, their ids would change"
            )
            return languages_of(split_pairs(args.lang_pairs))
        try:
            with open(args.lang_dict, encoding="utf-8") as file:
                return [line.strip() for line in file if line.strip()]
        except OSError as error:
            raise ConfigError(f"--lang-dict {args.lang_dict}: {error.strerror}") from None

    @classmethod
    def prepare(
        cls, load_dictionary: Callable[[str], Dictionary], args: Any, saved: Callable[[str], Any] = lambda name: None
    ) -> tuple[list[str], "OrderedDict[str, Dictionary]", bool]:
        """Languages, dictionaries, and whether this is for training.

        Args:
            saved: name of a language -> its dictionary of a checkpoint, for languages that the folder has none of.
        """
        pairs = split_pairs(args.lang_pairs)
        if not pairs:
            raise ConfigError("--lang-pairs is required. List all the language pairs in the training objective.")
        if (args.source_lang is None) != (args.target_lang is None):
            raise ConfigError(
                "--source-lang and --target-lang belong together: both to translate with the model, none to train it"
            )
        training = args.source_lang is None
        langs = cls.load_langs(args)
        for language in languages_of(pairs):
            if language not in langs:
                raise ConfigError(f"language {language!r} of --lang-pairs is none of --langs: {', '.join(langs)}")
        needed = languages_of(pairs if training else [f"{args.source_lang}-{args.target_lang}"])
        return langs, cls.load_all_dictionaries(args, needed, langs, load_dictionary, saved), training

    @classmethod
    def load_all_dictionaries(
        cls,
        args: Any,
        needed: list[str],
        langs: list[str],
        load_dictionary: Callable[[str], Dictionary],
        saved: Callable[[str], Any],
    ) -> "OrderedDict[str, Dictionary]":
        """The dictionaries of the languages `needed`, with the tokens of `langs`."""
        folder = str(args.data or "").split(os.pathsep)[0]
        files = {}
        if args.fixed_dictionary:
            files = dict.fromkeys(needed, args.fixed_dictionary)
        elif not (args.source_dict and args.target_dict):
            files = {language: os.path.join(folder, f"dict.{language}.txt") for language in needed}
        files.update({SRC_DICT_NAME: args.source_dict} if args.source_dict else {})
        files.update({TGT_DICT_NAME: args.target_dict} if args.target_dict else {})
        found: OrderedDict[str, Dictionary] = OrderedDict()
        specs = split_list(args.langtoks_specs)
        for name, path in files.items():
            kept = None if exists(path) else saved(name)
            found[name] = kept if kept is not None else load_dictionary(path)
            augment_dictionary(
                found[name], langs, str(args.lang_tok_style), specs, as_mapping(args.extra_data, "--extra-data")
            )
            logger.info(f"[{name}] dictionary: {len(found[name])} types")
        return found

    def get_source_dictionary(self, lang: str) -> Dictionary:
        return self.dicts[SRC_DICT_NAME if self.args.source_dict else lang]

    def get_target_dictionary(self, lang: str) -> Dictionary:
        return self.dicts[TGT_DICT_NAME if self.args.target_dict else lang]

    def get_langtok_index(self, lang_tok: str, dic: Dictionary) -> int:
        return _lang_id(dic, lang_tok)

    def get_encoder_langtok(self, src_lang: str, tgt_lang: str, spec: Optional[str] = None) -> Optional[int]:
        """The token of a source, as `spec`, `src` or `tgt`, says; None: none."""
        if spec is None:
            return None
        language = src_lang if str(spec).startswith("src") else tgt_lang
        return self._token(self.get_source_dictionary(src_lang), language, spec)

    def get_decoder_langtok(self, tgt_lang: str, spec: Optional[str] = None) -> Optional[int]:
        return None if spec is None else self._token(self.get_target_dictionary(tgt_lang), tgt_lang, spec)

    def _token(self, dictionary: Dictionary, language: str, spec: str) -> int:
        kind = LangTokSpec.mono_dae.value if str(spec).endswith("dae") else MAIN
        return _lang_id(dictionary, get_lang_tok(language, str(self.args.lang_tok_style), kind))

    # -- pairs -------------------------------------------------------------------------------------------------------

    @staticmethod
    def get_dataset_key(data_category: str, src: str, tgt: str) -> str:
        return f"{data_category}:{src}-{tgt}"

    def has_sharded_data(self, split: str) -> bool:
        return any(os.pathsep in str(path) for path in [self.args.data, *self.extra_data.values()])

    def get_data_paths_and_lang_pairs(self, split: str) -> dict[str, tuple[list[str], list[str]]]:
        """Kind of data -> its folders and pairs; only training has more than the main one."""
        found = {MAIN: (str(self.args.data).split(os.pathsep), self.lang_pairs)}
        if split == self.args.train_subset:
            for kind, path in self.extra_data.items():
                found[kind] = (str(path).split(os.pathsep), self.extra_lang_pairs[kind])
        return found

    def load_pair(self, split: str, kind: str, pair: str, folders: list[str], shard_epoch: int) -> tuple[Any, int]:
        """The sentences of a pair, and how many folders of its data there are."""
        args = self.args
        source, target = pair.split("-")
        if split == args.train_subset:
            folders = [f for f in folders if pair_is_there(f, split, source, target)] or folders
        folder = folders[(shard_epoch - 1) % len(folders)] if split == args.train_subset else folders[0]
        src_spec, tgt_spec = self.langtoks.get(kind, (None, None))
        tokens = self.get_encoder_langtok(source, target, src_spec), self.get_decoder_langtok(target, tgt_spec)
        logger.info(f"{kind}:{pair} src_langtok: {tokens[0]}; tgt_langtok: {tokens[1]}")
        dataset = load_langpair_dataset(
            folder,
            split,
            source,
            self.get_source_dictionary(source),
            target,
            self.get_target_dictionary(target),
            combine=True,
            dataset_impl=None if args.dataset_impl is None else str(args.dataset_impl),
            upsample_primary=args.upsample_primary,
            left_pad_source=boolean(args.left_pad_source, "left_pad_source"),
            left_pad_target=boolean(args.left_pad_target, "left_pad_target"),
            max_source_positions=args.max_source_positions,
            max_target_positions=args.max_target_positions,
            load_alignments=args.load_alignments,
            truncate_source=args.truncate_source,
            shuffle=split != "test",
        )
        if len(dataset) == 0:
            raise DataError(f"{folder}: split {split!r} of {pair} is empty")
        return self.with_tokens(dataset, source, target, *tokens), len(folders)

    def with_tokens(self, dataset: Any, source: str, target: str, src_token: Optional[int], tgt_token: Any) -> Any:
        """Pairs with language tokens, in front of them or in place of what they end in and begin with."""
        if self.args.enable_lang_ids:
            dataset.src_lang_id, dataset.tgt_lang_id = self.langs.index(source) + 1, self.langs.index(target) + 1
        if self.args.lang_tok_replacing_bos_eos:
            return self.alter_dataset_langtok(dataset, src_token, tgt_token)
        if src_token is None and tgt_token is None:
            return dataset
        src, tgt = dataset.src, dataset.tgt
        src = src if src_token is None else PrependTokenDataset(src, src_token)
        tgt = tgt if tgt_token is None or tgt is None else PrependTokenDataset(tgt, tgt_token)
        return LanguagePairDataset(
            src,
            src.sizes if hasattr(src, "sizes") else dataset.src_sizes + (src_token is not None),
            dataset.src_dict,
            tgt,
            None if tgt is None else tgt.sizes,
            dataset.tgt_dict,
            left_pad_source=dataset.left_pad_source,
            left_pad_target=dataset.left_pad_target,
            shuffle=dataset.shuffle,
            align_dataset=dataset.align_dataset,
            constraints=dataset.constraints,
            src_lang_id=dataset.src_lang_id,
            tgt_lang_id=dataset.tgt_lang_id,
        )

    def alter_dataset_langtok(self, lang_pair_dataset: Any, src_token: Optional[int], tgt_token: Optional[int]) -> Any:
        """Tokens where sources end and decoder inputs begin."""
        if src_token is None and tgt_token is None:
            return lang_pair_dataset
        eos = lang_pair_dataset.src_dict.eos()
        return TransformEosLangPairDataset(lang_pair_dataset, eos, src_token, eos, tgt_token)

    # -- splits ------------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, training: bool, epoch: int = 1, shard_epoch: Optional[int] = None) -> Any:
        """A split: in training a mixture, else all pairs one after the other."""
        datasets: OrderedDict[str, Any] = OrderedDict()
        sizes = []
        for kind, (folders, pairs) in self.get_data_paths_and_lang_pairs(split).items():
            for pair in pairs:
                dataset, shards = self.load_pair(split, kind, pair, folders, shard_epoch or epoch)
                datasets[self.get_dataset_key(kind, *pair.split("-"))] = dataset
                sizes.append(len(dataset) * shards)
        replacing = self.args.lang_tok_replacing_bos_eos
        if not (training and split == self.args.train_subset):
            if replacing:
                return SampledMultiDataset(datasets, None, epoch=epoch, split=split, shared_collater=False)
            return ConcatDataset(list(datasets.values()))
        options: dict[str, Any] = {
            "sampling_ratios": self.get_sampling_ratios(list(datasets), sizes),
            "epoch": epoch,
            "virtual_size": self.args.virtual_data_size or default_virtual_size_func,
            "split": split,
            "shared_collater": not replacing,
        }
        named = dict(zip(datasets, map(len, datasets.values()), strict=True))
        logger.info(f"[{split}] Raw sizes: {named}; raw total size: {sum(named.values())}")
        if self.args.virtual_epoch_size is None:
            return SampledMultiDataset(datasets, **options)
        return SampledMultiEpochDataset(datasets, virtual_epoch_size=self.args.virtual_epoch_size, **options)

    def get_sampling_ratios(self, keys: list[str], sizes: list[int]) -> Optional[list[float]]:
        """The shares of the data sets; None: each as it is.

        Raises:
            ConfigError: weights that are given for other data sets.
        """
        weights: dict[str, Any] = {}
        if self.args.sampling_weights_from_file:
            weights = load_sampling_weights(self.args.sampling_weights_from_file)
        weights = weights or as_mapping(self.args.sampling_weights, "--sampling-weights")
        if weights:
            if set(weights) != set(keys):
                raise ConfigError(f"sampling weights are for {', '.join(weights)}; the data sets are {', '.join(keys)}")
            return [float(weights[key]) for key in keys]
        method = SamplingMethod.build_sampler(self.args, None) if self.sampling_method is None else self.sampling_method
        sampler = method.sampling_method_selector()
        ratios = None if sampler is None else sampler(sizes)
        if ratios is not None:
            logger.info(f"| Upsample ratios: {list(zip(keys, ratios, strict=True))}")
        return ratios
