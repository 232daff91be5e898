"""`task=translation_multi_simple_epoch`: one model for pairs of many languages, which language tokens tell apart.

    fairseq-train DATA --task translation_multi_simple_epoch --arch transformer --langs de,en,fr \\
        --lang-pairs de-en,fr-en --encoder-langtok src --decoder-langtok \\
        --sampling-method temperature --sampling-temperature 5 ...
    fairseq-generate DATA --task translation_multi_simple_epoch (the same flags) -s fr -t en --path ...

The data sets of the pairs are mixed by shares; every epoch draws anew. With `virtual_epoch_size` an epoch is a part of
the mixture. All source languages have one dictionary, all target languages as well.
"""

import logging
from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.data.multilingual.multilingual_data_manager import MAIN, MultilingualDatasetManager
from fairseq.data.multilingual.sampling_method import SamplingMethod
from fairseq.data.multilingual.settings import split_pairs
from fairseq.dataclass.multilingual import TranslationMultiSimpleEpochConfig
from fairseq.errors import ConfigError, DataError
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried

logger = logging.getLogger(__name__)

__all__ = ["TranslationMultiSimpleEpochTask"]


@register_task("translation_multi_simple_epoch", dataclass=TranslationMultiSimpleEpochConfig)
class TranslationMultiSimpleEpochTask(CarriesDictionaries):
    """Translation between many languages; see the head of this file.

    Args:
        args: a `TranslationMultiSimpleEpochConfig` node, or the namespace of a plugin.
        langs: languages that have tokens.
        dicts: language -> dictionary.
        training: all of `args.lang_pairs`; else the one pair `args.source_lang`, `args.target_lang`.
    """

    def __init__(self, args: Any, langs: list[str], dicts: Mapping[str, Dictionary], training: bool):
        super().__init__(args)
        self.args, self.langs, self.dicts, self.training = args, langs, dicts, training
        self.lang_pairs = split_pairs(args.lang_pairs) if training else [f"{args.source_lang}-{args.target_lang}"]
        self.eval_lang_pairs = self.model_lang_pairs = self.lang_pairs
        self.source_langs = [pair.split("-")[0] for pair in self.lang_pairs]
        self.target_langs = [pair.split("-")[1] for pair in self.lang_pairs]
        self.sampling_method = SamplingMethod.build_sampler(args, self)
        self.data_manager = MultilingualDatasetManager.setup_data_manager(
            args, self.lang_pairs, langs, dicts, self.sampling_method
        )
        self.check_dicts(dicts, self.source_langs, self.target_langs)

    @classmethod
    def setup_task(  # type: ignore[override]
        cls, args: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> "TranslationMultiSimpleEpochTask":
        """Load the dictionaries; without a data folder, those that a checkpoint carries."""
        if not args.data:
            raise ConfigError(
                "task.data is missing (a folder made by fairseq-preprocess); give it as the first argument"
            )
        langs, dicts, training = MultilingualDatasetManager.prepare(
            cls.load_dictionary, args, lambda name: carried(task_state, name) or carried(task_state, "source")
        )
        return cls(args, langs, dicts, training)

    def check_dicts(self, dicts: Mapping[str, Dictionary], source_langs: list[str], target_langs: list[str]) -> None:
        """All source languages must have one dictionary, and all target languages.

        Raises:
            DataError: they have not.
        """
        for side, languages in (("source", source_langs), ("target", target_langs)):
            get = getattr(self.data_manager, f"get_{side}_dictionary")
            for language in languages[1:]:
                if get(language) != get(languages[0]):
                    raise DataError(
                        f"all {side} languages need one dictionary; those of {languages[0]} and {language} differ: "
                        "preprocess them with the same --srcdict and --tgtdict"
                    )

    def dictionaries(self) -> dict[str, Dictionary]:
        source, target = self.source_dictionary, self.target_dictionary
        return {"source": source} if source == target else dict(self.dicts)

    @property
    def source_dictionary(self) -> Dictionary:
        return self.data_manager.get_source_dictionary(self.source_langs[0])

    @property
    def target_dictionary(self) -> Dictionary:
        return self.data_manager.get_target_dictionary(self.target_langs[0])

    # -- data --------------------------------------------------------------------------------------------------------

    def has_sharded_data(self, split: str) -> bool:
        return self.data_manager.has_sharded_data(split)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split of all pairs.

        Args:
            kwargs: `shard_epoch` chooses the part of sharded data, where it is not that of the epoch.
        """
        shard_epoch = kwargs.get("shard_epoch")
        logger.info(f"loading data for {split} epoch={epoch}/{shard_epoch}")
        self.datasets[split] = self.data_manager.load_dataset(split, self.training, epoch, shard_epoch)

    def build_dataset_for_inference(
        self, src_tokens: list[Tensor], src_lengths: Any, constraints: Any = None, **kwargs: Any
    ) -> Any:
        source, target = self.args.source_lang, self.args.target_lang
        dataset = LanguagePairDataset(
            src_tokens,
            src_lengths,
            self.source_dictionary,
            tgt_dict=self.target_dictionary,
            constraints=constraints,
        )
        spec = self.data_manager.langtoks[MAIN][0]
        token = self.data_manager.get_encoder_langtok(source, target, spec)
        return self.data_manager.with_tokens(dataset, source, target, token, self._target_token())

    def max_positions(self) -> tuple[int, int]:
        return self.args.max_source_positions, self.args.max_target_positions

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """As the base's; where every epoch draws anew, its batches are made anew."""
        if dataset is not self.datasets.get(self.args.train_subset) or not self.training:
            return super().get_batch_iterator(dataset, *args, **kwargs)
        return super().get_batch_iterator(dataset, *args, **{**kwargs, "update_epoch_batch_itr": True})

    def seed_of_order(self, seed: int, epoch: int) -> int:
        """The same in every epoch, as in fairseq: what an epoch holds differs already."""
        return seed

    # -- model and steps ---------------------------------------------------------------------------------------------

    def _target_token(self) -> Optional[int]:
        """The token of the language that is translated into, where outputs begin with one."""
        return self.data_manager.get_decoder_langtok(self.args.target_lang, self.data_manager.langtoks[MAIN][1])

    def build_generator(
        self,
        models: list[Any],
        args: Any,
        seq_gen_cls: Any = None,
        extra_gen_cls_kwargs: Any = None,
        prefix_allowed_tokens_fn: Any = None,
    ) -> Any:
        """A generator whose outputs are printed without the language token, unless that is asked for."""
        extra = dict(extra_gen_cls_kwargs or {})
        if not self.training and not self.args.keep_inference_langtok and self._target_token() is not None:
            extra["symbols_to_strip_from_output"] = {self._target_token()}
        return super().build_generator(models, args, seq_gen_cls, extra, prefix_allowed_tokens_fn)

    def inference_step(
        self, generator: Any, models: list[Any], sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        """Hypotheses that begin with the language token."""
        token = self._target_token()
        more = {}
        if token is not None and self.args.lang_tok_replacing_bos_eos:
            more["bos_token"] = token
        elif token is not None and prefix_tokens is None:
            source = sample["net_input"]["src_tokens"]
            prefix_tokens = torch.full((len(source), 1), token, dtype=source.dtype, device=source.device)
        with torch.no_grad():
            return generator.generate(models, sample, prefix_tokens=prefix_tokens, constraints=constraints, **more)
