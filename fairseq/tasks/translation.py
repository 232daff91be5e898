"""`task=translation`: sentences of one language into another.

    iwslt-bin/{dict.de.txt,dict.en.txt,train.de-en.de.bin,train.de-en.de.idx,train.de-en.en.bin,...}

Source and target language are those of the files unless they are given. With several folders (`a-bin:b-bin`) each
epoch trains on the next one, and the first one has the dictionaries and the other splits.
"""

import logging
import os
from typing import Any, Optional

from torch import Tensor

from fairseq import utils
from fairseq.data import Dictionary, LanguagePairDataset, data_utils
from fairseq.data.language_pair_files import load_langpair_dataset
from fairseq.dataclass.tasks import TranslationConfig
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists
from fairseq.tasks import generation_bleu, register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried

__all__ = ["TranslationConfig", "TranslationTask", "load_langpair_dataset"]

logger = logging.getLogger(__name__)


@register_task("translation", dataclass=TranslationConfig)
class TranslationTask(CarriesDictionaries):
    """Translation from one language to another.

    Args:
        cfg: a `TranslationConfig` node.
        src_dict, tgt_dict: dictionaries of the two languages; they may be the same.
    """

    def __init__(self, cfg: Any, src_dict: Dictionary, tgt_dict: Dictionary):
        super().__init__(cfg)
        self.src_dict, self.tgt_dict = src_dict, tgt_dict
        self.tokenizer: Any = None  # these two for eval_bleu
        self.sequence_generator: Any = None

    @classmethod
    def setup_task(cls, cfg: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any) -> "TranslationTask":
        """Load the dictionaries from `cfg.data`; without that folder, from the state that a checkpoint carries.

        Raises:
            ConfigError: neither the settings nor the files tell the languages.
        """
        paths = utils.split_paths(cfg.data or "")
        if not paths[0]:
            raise ConfigError(
                "task.data is missing (a folder made by fairseq-preprocess); give it as the first argument"
            )
        source, target = carried(task_state, "source"), carried(task_state, "target")
        if cfg.source_lang is None or cfg.target_lang is None:
            found = data_utils.infer_language_pair(paths[0]) if exists(paths[0]) else (None, None)
            cfg.source_lang, cfg.target_lang = cfg.source_lang or found[0], cfg.target_lang or found[1]
        if cfg.source_lang is None or cfg.target_lang is None:
            what = "it has no file like train.de-en.de.idx" if exists(paths[0]) else "there is no such folder"
            raise ConfigError(
                f"Could not infer language pair, please provide it explicitly: --source-lang, --target-lang "
                f"({paths[0]}: {what})"
            )
        names = [os.path.join(paths[0], f"dict.{lang}.txt") for lang in (cfg.source_lang, cfg.target_lang)]
        if source is None or target is None or all(map(exists, names)):
            source, target = (cls.load_dictionary(name) for name in names)
        for special in ("pad", "eos", "unk"):
            if getattr(source, special)() != getattr(target, special)():
                raise DataError(f"{names[0]} and {names[1]} give <{special}> different ids; preprocess the data again")
        logger.info(f"[{cfg.source_lang}] dictionary: {len(source)} types")
        logger.info(f"[{cfg.target_lang}] dictionary: {len(target)} types")
        return cls(cfg, source, target, **kwargs)

    @property
    def source_dictionary(self) -> Dictionary:
        return self.src_dict

    @property
    def target_dictionary(self) -> Dictionary:
        return self.tgt_dict

    def dictionaries(self) -> dict[str, Dictionary]:
        return {"source": self.src_dict, "target": self.tgt_dict}

    # -- data --------------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: missing, empty, or with sides that do not fit.
        """
        cfg = self.cfg
        paths = utils.split_paths(cfg.data)
        if split != cfg.train_subset:
            paths = paths[:1]
        path = paths[(epoch - 1) % len(paths)]
        dataset = load_langpair_dataset(
            path,
            split,
            cfg.source_lang,
            self.src_dict,
            cfg.target_lang,
            self.tgt_dict,
            combine=combine,
            dataset_impl=None if cfg.dataset_impl is None else str(cfg.dataset_impl),
            upsample_primary=cfg.upsample_primary,
            left_pad_source=cfg.left_pad_source,
            left_pad_target=cfg.left_pad_target,
            max_source_positions=cfg.max_source_positions,
            max_target_positions=cfg.max_target_positions,
            load_alignments=cfg.load_alignments,
            truncate_source=cfg.truncate_source,
            num_buckets=cfg.num_batch_buckets,
            shuffle=split != "test",
            pad_to_multiple=cfg.required_seq_len_multiple,
            **self.pair_settings(),
        )
        if len(dataset) == 0:
            raise DataError(f"task.data={cfg.data}: split {split!r} is empty")
        self.datasets[split] = dataset

    def pair_settings(self) -> dict[str, Any]:
        """More settings of `load_langpair_dataset`, for tasks whose pairs are marked."""
        return {}

    def build_dataset_for_inference(
        self, src_tokens: list[Tensor], src_lengths: Any, constraints: Any = None, **kwargs: Any
    ) -> LanguagePairDataset:
        return LanguagePairDataset(
            src_tokens,
            src_lengths,
            self.source_dictionary,
            tgt_dict=self.target_dictionary,
            constraints=constraints,
        )

    def max_positions(self) -> tuple[int, int]:
        return self.cfg.max_source_positions, self.cfg.max_target_positions

    # -- model and steps ---------------------------------------------------------------------------------------------

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.eval_bleu and not from_checkpoint:  # so that wrong settings are found before the first update
            self._prepare_bleu(model)
        return model

    def _prepare_bleu(self, model: Any) -> None:
        self.tokenizer = generation_bleu.detokenizer(self.cfg)
        self.sequence_generator = self.build_generator([model], generation_bleu.generation_args(self.cfg))

    def train_step(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        self._check_target(sample)
        return super().train_step(sample, *args, **kwargs)

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> tuple[Tensor, Any, dict[str, Any]]:
        self._check_target(sample)
        loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        if self.cfg.eval_bleu:
            if self.sequence_generator is None:
                self._prepare_bleu(model)
            bleu = self._inference_with_bleu(self.sequence_generator, sample, model)
            logging_output.update(generation_bleu.statistics(bleu))
        return loss, sample_size, logging_output

    def _inference_with_bleu(self, generator: Any, sample: Any, model: Any) -> Any:
        """sacreBLEU's `BLEUScore` of what `model` generates for a batch."""
        cfg = self.cfg

        def text(tokens: Tensor, unknown: str) -> str:
            words = self.tgt_dict.string(tokens.int().cpu(), cfg.eval_bleu_remove_bpe, unk_string=unknown)
            return self.tokenizer.decode(words) if self.tokenizer is not None and words else words

        generated = self.inference_step(generator, [model], sample, prefix_tokens=None)
        outputs = [text(hypotheses[0]["tokens"], generation_bleu.UNKNOWN_IN_OUTPUT) for hypotheses in generated]
        references = [
            text(utils.strip_pad(target, self.tgt_dict.pad()), generation_bleu.UNKNOWN_IN_REFERENCE)
            for target in sample["target"]
        ]
        if cfg.eval_bleu_print_samples:
            logger.info(f"example hypothesis: {outputs[0]}")
            logger.info(f"example reference: {references[0]}")
        return generation_bleu.score(outputs, references, tokenized=cfg.eval_tokenized_bleu)

    def _check_target(self, sample: Any) -> None:
        if sample.get("target") is None:
            cfg = self.cfg
            raise DataError(
                f"task.data={cfg.data} has no {cfg.target_lang} side for these {cfg.source_lang} sentences, so there "
                "is nothing to learn or to compare with; preprocess both sides"
            )

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        if self.cfg.eval_bleu:
            generation_bleu.log(logging_outputs)
