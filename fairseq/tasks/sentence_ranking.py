"""`task=sentence_ranking`: choose the right one of several candidates for a context (RACE, CommonsenseQA).

    RACE-bin/input0/{dict.txt,train.bin,train.idx,...}   contexts, eos at the end of each
    RACE-bin/input1/..., RACE-bin/input2/..., ...        first candidates, second ones, ...: `num_classes` folders
    RACE-bin/label/{train,valid}.label                   the number of the right one, from 0, one line an example

With `init_token=0 separator_token=2` the model reads `<s> candidate </s> </s> context </s>` once for each candidate,
and a head with one output scores it; `criterion=sentence_ranking` takes the batch's `net_input1`, `net_input2`, ...
"""

import logging
import os
from typing import Any, Optional

import numpy as np

from fairseq.data import (
    ConcatSentencesDataset,
    Dictionary,
    IdDataset,
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    PrependTokenDataset,
    RawLabelDataset,
    RightPadDataset,
    TruncateDataset,
)
from fairseq.data.shorten_dataset import maybe_shorten_dataset
from fairseq.dataclass.tasks import SentenceRankingConfig
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import carried
from fairseq.tasks.labels import read_choices
from fairseq.tasks.sentence_prediction import SentencePredictionTask

logger = logging.getLogger(__name__)


@register_task("sentence_ranking", dataclass=SentenceRankingConfig)
class SentenceRankingTask(SentencePredictionTask):
    """Choice among `num_classes` candidates; see the head of this file.

    Args:
        cfg: a `SentenceRankingConfig` node.
        dictionary: of contexts and candidates, `<mask>` included.
    """

    def __init__(self, cfg: Any, dictionary: Dictionary):
        super().__init__(cfg, dictionary, None)

    @classmethod
    def setup_task(cls, cfg: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any) -> "SentenceRankingTask":
        """Load the dictionary from `cfg.data`; without that folder, from the state that a checkpoint carries."""
        if cfg.num_classes <= 0:
            raise ConfigError(f"task.num_classes must be 1 or more (--num-classes), got {cfg.num_classes}")
        dictionary = cls._dictionary(cfg.data, "input0", carried(task_state, "source"))
        logger.info(f"[input] dictionary: {len(dictionary)} types")
        return cls(cfg, dictionary, **kwargs)

    def check_sizes(self) -> None:
        """Compare the number of candidates with the folders that hold them."""
        super().check_sizes()
        further = f"input{self.cfg.num_classes + 1}"
        if os.path.isdir(os.path.join(self.cfg.data, further)):
            raise ConfigError(
                f"task.num_classes={self.cfg.num_classes} (--num-classes), but {self.cfg.data} has more candidates: "
                f"there is {further}"
            )

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: missing or empty, parts of different length, labels that name no candidate.
            ConfigError: a token that is put in front is not in the dictionary.
        """
        cfg = self.cfg
        self._check_added_tokens()
        context = self._inputs("input0", split, combine)
        if cfg.separator_token is not None:
            context = PrependTokenDataset(context, cfg.separator_token)
        candidates = [self._candidate(f"input{n}", context, split, combine) for n in range(1, cfg.num_classes + 1)]
        for tokens in candidates:
            self._check_tokens(tokens.sizes, split)
        parts: dict[str, Any] = {
            "id": IdDataset(),
            "nsentences": NumSamplesDataset(),
            "ntokens": NumelDataset(candidates[0], reduce=True),
        }
        for number, tokens in enumerate(candidates, 1):
            parts[f"net_input{number}"] = {
                "src_tokens": RightPadDataset(tokens, pad_idx=self.dictionary.pad()),
                "src_lengths": NumelDataset(tokens, reduce=False),
            }
        path = os.path.join(cfg.data, "label", f"{split}.label")
        if exists(path):
            labels = read_choices(path, cfg.num_classes)
            if len(labels) != len(context):
                raise DataError(f"{path}: {len(labels)} labels for {len(context)} examples of split {split!r}")
            parts["target"] = RawLabelDataset(labels)
        sizes = np.maximum.reduce([np.asarray(tokens.sizes) for tokens in candidates])
        self.datasets[split] = self._in_order(NestedDictionaryDataset(parts, sizes=[sizes]))
        logger.info(f"Loaded {split} with #samples: {len(context)}")

    def _inputs(self, name: str, split: str, combine: bool) -> Any:
        found = self._part(name, split, combine)
        if found is None:
            raise DataError(
                f"task.data={self.cfg.data} has no {name}/{split}.idx; task.num_classes={self.cfg.num_classes} needs "
                f"input0 (contexts) to input{self.cfg.num_classes} (candidates)"
            )
        if len(found) == 0:
            raise DataError(f"task.data={self.cfg.data}: split {split!r} is empty ({name}/{split}.idx)")
        return found

    def _candidate(self, name: str, context: Any, split: str, combine: bool) -> Any:
        """A candidate with its context behind it."""
        cfg = self.cfg
        tokens = self._inputs(name, split, combine)
        if len(tokens) != len(context):
            raise DataError(
                f"task.data={cfg.data}: split {split!r} has {len(context)} examples in input0 but {len(tokens)} in "
                f"{name}; prepare the data again"
            )
        if cfg.init_token is not None:
            tokens = PrependTokenDataset(tokens, cfg.init_token)
        if cfg.max_option_length is not None:
            tokens = TruncateDataset(tokens, cfg.max_option_length)
        return maybe_shorten_dataset(
            ConcatSentencesDataset(tokens, context),
            split,
            cfg.shorten_data_split_list,
            cfg.shorten_method,
            self.max_positions(),
            cfg.seed,
        )

    def head(self) -> tuple[str, int]:
        return self.cfg.ranking_head_name, 1
