"""`task=multilingual_translation`: several pairs of languages, a batch of each in every update.

    fairseq-train DATA --task multilingual_translation --arch multilingual_transformer --lang-pairs de-en,fr-en \\
        --share-decoders ...
    fairseq-generate DATA --task multilingual_translation --lang-pairs de-en,fr-en -s fr -t en --path ...

The folder holds `train.de-en.de.idx`, ... and `dict.de.txt`, ... of every language. Losses of the pairs add up. A pair
with fewer sentences begins again within an epoch. Commands that translate need the training's `--lang-pairs` and
language tokens.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor, nn

from fairseq import utils
from fairseq.data import Dictionary, LanguagePairDataset, RoundRobinZipDatasets, TransformEosLangPairDataset
from fairseq.data.language_pair_files import load_langpair_dataset
from fairseq.data.multilingual.settings import boolean, languages_of, split_pairs
from fairseq.dataclass.multilingual import MultilingualTranslationConfig
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists
from fairseq.logging import metrics
from fairseq.quantization.bits import bits_for
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried

logger = logging.getLogger(__name__)

__all__ = ["MultilingualTranslationTask"]

_ONE = "shared"  # name, in checkpoints, of a dictionary that all languages have


def _lang_token(lang: str) -> str:
    return f"__{lang}__"


def _lang_token_index(dic: Dictionary, lang: str) -> int:
    """The id of the language's token.

    Raises:
        DataError: it is not in the dictionary.
    """
    index = dic.index(_lang_token(lang))
    if index == dic.unk_index:
        raise DataError(f"cannot find language token for lang {lang}")
    return index


@register_task("multilingual_translation", dataclass=MultilingualTranslationConfig)
class MultilingualTranslationTask(CarriesDictionaries):
    """Translation between several pairs of languages; see the head of this file.

    Args:
        args: a `MultilingualTranslationConfig` node, or the namespace of a plugin.
        dicts: language -> dictionary.
        training: all of `args.lang_pairs`; else the one pair `args.source_lang`, `args.target_lang`.
    """

    def __init__(self, args: Any, dicts: Mapping[str, Dictionary], training: bool):
        super().__init__(args)
        self.args, self.dicts, self.training = args, dicts, training
        pairs = split_pairs(args.lang_pairs) if training else [f"{args.source_lang}-{args.target_lang}"]
        self.lang_pairs = pairs
        self.eval_lang_pairs = pairs  # what is validated; a subclass may load more
        # the model is built for all: of parts that pairs share, a checkpoint has the quantizers under the first one
        self.model_lang_pairs = split_pairs(args.lang_pairs)
        self.langs = list(dicts)

    @classmethod
    def setup_task(  # type: ignore[override]
        cls, args: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> "MultilingualTranslationTask":
        """Load the dictionaries of all languages from the first folder of `args.data`."""
        dicts, training = cls.prepare(args, task_state=task_state, **kwargs)
        return cls(args, dicts, training)

    @classmethod
    def update_args(cls, args: Any) -> None:
        """Check the settings.

        Raises:
            ConfigError: no pairs, or one language without the other.
        """
        if not split_pairs(args.lang_pairs):
            raise ConfigError("--lang-pairs is required. List all the language pairs in the training objective.")
        if (args.source_lang is None) != (args.target_lang is None):
            raise ConfigError(
                "--source-lang and --target-lang belong together: both to translate with the model, none to train it"
            )

    @classmethod
    def prepare(
        cls, args: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> tuple["OrderedDict[str, Dictionary]", bool]:
        """The dictionaries, and whether this is for training."""
        cls.update_args(args)
        training = args.source_lang is None
        pairs = split_pairs(args.lang_pairs)
        languages = languages_of(pairs)
        if not training and f"{args.source_lang}-{args.target_lang}" not in pairs:
            raise ConfigError(f"{args.source_lang}-{args.target_lang} is none of --lang-pairs: {', '.join(pairs)}")
        paths = utils.split_paths(args.data or "")
        if not paths[0]:
            raise ConfigError(
                "task.data is missing (a folder made by fairseq-preprocess); give it as the first argument"
            )
        dicts: OrderedDict[str, Dictionary] = OrderedDict()
        first: Optional[Dictionary] = None
        for language in languages:
            path = os.path.join(paths[0], f"dict.{language}.txt")
            saved = carried(task_state, language) or carried(task_state, _ONE)
            dicts[language] = saved if saved is not None and not exists(path) else cls.load_dictionary(path)
            first = first or dicts[language]
            for special in ("pad", "eos", "unk"):
                if getattr(dicts[language], special)() != getattr(first, special)():
                    raise DataError(f"{path} gives <{special}> another id than dict.{languages[0]}.txt")
            if args.encoder_langtok is not None or args.decoder_langtok:
                for each in languages:
                    dicts[language].add_symbol(_lang_token(each))
            logger.info(f"[{language}] dictionary: {len(dicts[language])} types")
        return dicts, training

    def dictionaries(self) -> dict[str, Dictionary]:
        each = list(self.dicts.values())
        return {_ONE: each[0]} if all(other == each[0] for other in each) else dict(self.dicts)

    @property
    def source_dictionary(self) -> Dictionary:
        """That of `source_lang`; in training that of any language: all have the same special symbols."""
        return self.dicts[self.langs[0] if self.training else self.args.source_lang]

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dicts[self.langs[0] if self.training else self.args.target_lang]

    # -- data --------------------------------------------------------------------------------------------------------

    def get_encoder_langtok(self, src_lang: str, tgt_lang: str) -> int:
        """The id that sources end in."""
        if self.args.encoder_langtok is None:
            return self.dicts[src_lang].eos()
        language = src_lang if str(self.args.encoder_langtok) == "src" else tgt_lang
        return _lang_token_index(self.dicts[src_lang], language)

    def get_decoder_langtok(self, tgt_lang: str) -> int:
        """The id that decoder inputs begin with."""
        dictionary = self.dicts[tgt_lang]
        return _lang_token_index(dictionary, tgt_lang) if self.args.decoder_langtok else dictionary.eos()

    def alter_dataset_langtok(
        self,
        lang_pair_dataset: Any,
        src_eos: Optional[int] = None,
        src_lang: Optional[str] = None,
        tgt_eos: Optional[int] = None,
        tgt_lang: Optional[str] = None,
    ) -> Any:
        """`lang_pair_dataset` with language tokens, as the settings say."""
        if self.args.encoder_langtok is None and not self.args.decoder_langtok:
            return lang_pair_dataset
        new_src_eos = new_tgt_bos = None
        if self.args.encoder_langtok is not None and None not in (src_eos, src_lang, tgt_lang):
            new_src_eos = self.get_encoder_langtok(src_lang, tgt_lang)  # type: ignore[arg-type]
        if self.args.decoder_langtok and None not in (tgt_eos, tgt_lang):
            new_tgt_bos = self.get_decoder_langtok(tgt_lang)  # type: ignore[arg-type]
        return TransformEosLangPairDataset(
            lang_pair_dataset,
            src_eos=src_eos if new_src_eos is not None else None,  # type: ignore[arg-type]
            new_src_eos=new_src_eos,
            tgt_bos=tgt_eos if new_tgt_bos is not None else None,
            new_tgt_bos=new_tgt_bos,
        )

    def load_pair(self, split: str, pair: str, epoch: int = 1) -> Any:
        """The sentences of one pair."""
        args = self.args
        source, target = pair.split("-")
        paths = utils.split_paths(args.data)
        dataset = load_langpair_dataset(
            paths[(epoch - 1) % len(paths)] if split == args.train_subset else paths[0],
            split,
            source,
            self.dicts[source],
            target,
            self.dicts[target],
            combine=True,
            dataset_impl=None if args.dataset_impl is None else str(args.dataset_impl),
            upsample_primary=args.upsample_primary,
            left_pad_source=boolean(args.left_pad_source, "left_pad_source"),
            left_pad_target=boolean(args.left_pad_target, "left_pad_target"),
            max_source_positions=args.max_source_positions,
            max_target_positions=args.max_target_positions,
        )
        if len(dataset) == 0:
            raise DataError(f"task.data={args.data}: split {split!r} of {pair} is empty")
        if dataset.tgt is None and self.training:
            raise DataError(f"task.data={args.data}: split {split!r} of {pair} has no {target} side")
        eos = self.dicts[source].eos(), self.dicts[target].eos()
        return self.alter_dataset_langtok(dataset, eos[0], source, eos[1], target)

    def load_dataset(self, split: str, epoch: int = 1, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split of every pair.

        Raises:
            DataError: missing, empty, or with sides that do not fit.
        """
        pairs = OrderedDict((pair, self.load_pair(split, pair, epoch)) for pair in self.lang_pairs)
        self.datasets[split] = RoundRobinZipDatasets(pairs, eval_key=None if self.training else self.lang_pairs[0])

    def build_dataset_for_inference(
        self, src_tokens: list[Tensor], src_lengths: Any, constraints: Any = None, **kwargs: Any
    ) -> RoundRobinZipDatasets:
        if constraints is not None:
            raise ConfigError("task=multilingual_translation does not take lexical constraints")
        source, target = self.args.source_lang, self.args.target_lang
        dataset = LanguagePairDataset(src_tokens, src_lengths, self.source_dictionary)
        altered = self.alter_dataset_langtok(
            dataset, self.source_dictionary.eos(), source, self.target_dictionary.eos(), target
        )
        pair = f"{source}-{target}"
        return RoundRobinZipDatasets(OrderedDict([(pair, altered)]), eval_key=pair)

    def max_positions(self) -> dict[str, tuple[int, int]]:
        limits = self.args.max_source_positions, self.args.max_target_positions
        return dict.fromkeys(self.lang_pairs, limits)

    # -- model and steps ---------------------------------------------------------------------------------------------

    def build_model(self, args: Any, from_checkpoint: bool = False) -> nn.Module:
        """The model that `args` describes.

        Raises:
            ConfigError: it is for one pair only, or was trained with other pairs or language tokens.
        """
        from fairseq.models import FairseqMultiModel

        self._check_trained_with(args)
        model = super().build_model(args, from_checkpoint)
        if not isinstance(model, FairseqMultiModel):
            raise ConfigError(
                f"task={type(self).__name__} needs a model for several pairs, --arch multilingual_transformer; "
                f"{type(model).__name__} is for one"
            )
        return model

    def _check_trained_with(self, args: Any) -> None:
        pairs = getattr(args, "lang_pairs", None)
        if pairs is None or (isinstance(pairs, str) and not pairs):
            return
        ours = self.args
        if set(split_pairs(pairs)) != set(split_pairs(ours.lang_pairs)):
            raise ConfigError(f"--lang-pairs should include all the language pairs {','.join(split_pairs(pairs))}.")
        theirs = getattr(args, "encoder_langtok", None)
        if (theirs and str(theirs)) != (ours.encoder_langtok and str(ours.encoder_langtok)):
            raise ConfigError(f"--encoder-langtok should be {theirs}.")
        if bool(getattr(args, "decoder_langtok", False)) != bool(ours.decoder_langtok):
            raise ConfigError(f"--decoder-langtok should {'' if args.decoder_langtok else 'not '}be set.")

    def train_step(
        self,
        sample: Any,
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        num_bits: Optional[int] = None,
    ) -> tuple[Any, Any, dict[str, Any]]:
        """A forward and backward of every pair; their losses, sample sizes and logging outputs add up."""
        model.train()
        model.set_num_updates(update_num)
        results = {}
        for pair in self.model_lang_pairs:
            if not sample.get(pair):
                continue
            loss, size, output = criterion(model.models[pair], sample[pair], **bits_for(criterion, num_bits))
            if ignore_grad:
                loss = loss * 0
            optimizer.backward(loss)
            results[pair] = loss.detach(), size, output
        return _added(results)

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> tuple[Any, Any, dict[str, Any]]:
        results = {}
        for pair in self.eval_lang_pairs:
            if sample.get(pair):
                results[pair] = super().valid_step(sample[pair], model.models[pair], criterion)
        return _added(results)

    def inference_step(
        self, generator: Any, models: list[Any], sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        import torch

        first = self.get_decoder_langtok(self.args.target_lang)
        with torch.no_grad():
            return generator.generate(
                models, sample, prefix_tokens=prefix_tokens, constraints=constraints, bos_token=first
            )

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        for key in ("sample_size", "nsentences", "ntokens"):
            metrics.log_scalar(key, sum(output[key] for output in logging_outputs))


def _added(results: dict[str, tuple[Any, Any, dict[str, Any]]]) -> tuple[Any, Any, dict[str, Any]]:
    """Sums over the pairs; the logging output has those of each pair as well, `de-en:loss`."""
    loss: Any = 0.0
    sample_size: Any = 0.0
    logged: dict[str, Any] = {}
    for pair, (pair_loss, size, output) in results.items():
        loss, sample_size = loss + pair_loss.item(), sample_size + size
        for key, value in output.items():
            logged[f"{pair}:{key}"] = value
            logged[key] = logged.get(key, 0.0) + value
    return loss, sample_size, logged
