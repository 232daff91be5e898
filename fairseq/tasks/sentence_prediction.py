"""`task=sentence_prediction`: predict a class or a number for a sentence or a pair of sentences.

    RTE-bin/input0/{dict.txt,train.bin,train.idx,valid.bin,...}     first sentences, eos at the end of each
    RTE-bin/input1/...                                              second sentences, if there are pairs
    RTE-bin/label/{dict.txt,train.bin,...}                          classes, or
    RTE-bin/label/{train,valid}.label                               numbers, one line an example (regression)
    RTE-bin/text.json, tokenizer/                                   what cuts texts (of fairseq-prepare-text)

With `init_token=0 separator_token=2` the model reads `<s> A </s> </s> B </s>`. Class ids are the ids of the label
dictionary less its special symbols, so they follow the frequency of labels in the training set. The examples of a
split are in one random order that depends on `seed` only. To be scored, they go by length: batches of RTE at random
are more padding than text. Checkpoints take along the dictionaries, and the tokenizer where the data have one.
"""

import logging
import os
from pathlib import Path
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
    RollDataset,
    SortDataset,
    data_utils,
)
from fairseq.data.class_names import label_names
from fairseq.data.encoders import carried as carried_text
from fairseq.data.shorten_dataset import maybe_shorten_dataset
from fairseq.dataclass.tasks import SentencePredictionConfig
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried, difference
from fairseq.tasks.labels import read_classes, read_numbers

logger = logging.getLogger(__name__)


@register_task("sentence_prediction", dataclass=SentencePredictionConfig)
class SentencePredictionTask(CarriesDictionaries):
    """Sentence (pair) classification and regression; see the head of this file.

    Args:
        cfg: a `SentencePredictionConfig` node.
        data_dictionary: of the sentences, `<mask>` included.
        label_dictionary: of the classes; None for regression.
    """

    def __init__(self, cfg: Any, data_dictionary: Dictionary, label_dictionary: Optional[Dictionary]):
        super().__init__(cfg)
        self.dictionary = data_dictionary
        self._label_dictionary = label_dictionary
        self._max_positions: int = cfg.max_positions
        self._by_length: dict[str, tuple[Any, SortDataset]] = {}  # split -> what is loaded, and that in its order

    @classmethod
    def load_dictionary(cls, filename: str) -> Dictionary:
        dictionary = Dictionary.load(filename)
        dictionary.add_symbol("<mask>")
        return dictionary

    @classmethod
    def setup_task(
        cls, cfg: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> "SentencePredictionTask":
        """Load the dictionaries from `cfg.data`; without that folder, from the state that a checkpoint carries.

        Raises:
            DataError: neither is there, or the two disagree (classes would have other meanings).
        """
        if cfg.num_classes <= 0:
            raise ConfigError(f"task.num_classes must be 1 or more (--num-classes), got {cfg.num_classes}")
        if cfg.d2v2_multi:
            raise ConfigError("task.d2v2_multi: data2vec 2.0 models are not supported; set it to false")
        source = cls._dictionary(cfg.data, "input0", carried(task_state, "source"))
        logger.info(f"[input] dictionary: {len(source)} types")
        labels = None
        if not cfg.regression_target:
            labels = cls._dictionary(cfg.data, "label", carried(task_state, "label"))
            logger.info(f"[label] dictionary: {len(labels)} types")
        return cls(cfg, source, labels, **kwargs)

    @classmethod
    def _dictionary(cls, data: str, folder: str, of_checkpoint: Optional[Dictionary]) -> Dictionary:
        path = os.path.join(data, folder, "dict.txt")
        if exists(path):
            dictionary = cls.load_dictionary(path)
            found = difference(dictionary, of_checkpoint) if of_checkpoint is not None else None
            if found is not None:
                raise DataError(f"{path} is not the dictionary that the checkpoint was trained with: {found}")
            return dictionary
        if of_checkpoint is not None:
            return of_checkpoint
        raise DataError(
            f"task.data={data}: there is no {folder}/dict.txt; prepare a data folder with "
            "fairseq-prepare-glue or fairseq-prepare-text and name that"
        )

    def dictionaries(self) -> dict[str, Dictionary]:
        labels = {} if self._label_dictionary is None else {"label": self._label_dictionary}
        return {"source": self.dictionary, **labels}

    def carried_text(self) -> Optional[dict[str, Any]]:
        """Columns and tokenizer of the texts, as `data.encoders.carried` has them: of the data, else of the checkpoint.

        Raises:
            DataError: the data folder's are damaged.
        """
        if carried_text.KEY not in self.state.state_dict:
            described = carried_text.read(Path(self.cfg.data))
            if described is not None:
                self.state.merge_state_dict({carried_text.KEY: described})
        return self.state.state_dict.get(carried_text.KEY)

    def state_dict(self) -> dict[str, Any]:
        self.carried_text()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        ours = self.carried_text()
        super().load_state_dict(state_dict)
        if ours is not None:  # the data on which training goes on
            self.state.merge_state_dict({carried_text.KEY: ours})

    def check_sizes(self) -> None:
        """Compare classes with labels, and the tokens that are put in front with the dictionary."""
        names = [] if self._label_dictionary is None else label_names(self._label_dictionary)
        # a smaller number is wrong only where an example has such a label: see `read_classes`
        if self._label_dictionary is not None and self.cfg.num_classes > len(names):
            raise ConfigError(
                f"task.num_classes={self.cfg.num_classes} (--num-classes), but label/dict.txt of {self.cfg.data} has "
                f"{len(names)} labels: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
            )
        self._check_added_tokens()

    def _check_added_tokens(self) -> None:
        for key in ("init_token", "separator_token"):
            token = getattr(self.cfg, key)
            if token is not None and token >= len(self.dictionary):
                raise ConfigError(
                    f"task.{key}={token}: input0/dict.txt of {self.cfg.data} has tokens 0 to {len(self.dictionary) - 1}"
                )

    # -- data --------------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: missing or empty, parts of different length, labels that do not fit `num_classes`.
            ConfigError: a token that is put in front is not in the dictionary.
        """
        cfg = self.cfg
        self._check_added_tokens()
        input0 = self._part("input0", split, combine)
        if input0 is None:
            raise DataError(f"task.data={cfg.data} has no split {split!r}: there is no input0/{split}.idx")
        if len(input0) == 0:
            raise DataError(f"task.data={cfg.data}: split {split!r} is empty (input0/{split}.idx)")
        input1 = self._part("input1", split, combine)
        src_tokens = self._source(input0, input1, split)
        src_tokens = maybe_shorten_dataset(
            src_tokens, split, cfg.shorten_data_split_list, cfg.shorten_method, self.max_positions(), cfg.seed
        )
        self._check_tokens(src_tokens.sizes, split)
        parts = {
            "id": IdDataset(),
            "net_input": {
                "src_tokens": RightPadDataset(src_tokens, pad_idx=self.dictionary.pad()),
                "src_lengths": NumelDataset(src_tokens, reduce=False),
            },
            "nsentences": NumSamplesDataset(),
            "ntokens": NumelDataset(src_tokens, reduce=True),
        }
        if cfg.add_prev_output_tokens:
            rolled = RightPadDataset(RollDataset(src_tokens, 1), pad_idx=self.dictionary.pad())
            parts["net_input"]["prev_output_tokens"] = rolled
        labels = self._labels(split, combine, len(src_tokens))
        if labels is not None:
            parts["target"] = labels
        self.datasets[split] = self._in_order(NestedDictionaryDataset(parts, sizes=[src_tokens.sizes]))
        logger.info(f"Loaded {split} with #samples: {len(src_tokens)}")

    def _check_tokens(self, sizes: Any, split: str) -> None:
        """Raise DataError where an example has no token: a head reads the first one."""
        empty = np.flatnonzero(np.asarray(sizes) == 0)
        if len(empty):
            raise DataError(
                f"task.data={self.cfg.data}: example {empty[0]} of split {split!r} has no tokens ({len(empty)} of "
                f"{len(sizes)} have none); set task.init_token=0, or leave it out and prepare the data again"
            )

    def _in_order(self, dataset: NestedDictionaryDataset) -> Any:
        """The examples in the random order that `seed` gives, or as they are with `no_shuffle`."""
        if self.cfg.no_shuffle:
            return dataset
        with data_utils.numpy_seed(self.cfg.seed):
            shuffle = np.random.permutation(len(dataset))
        return SortDataset(dataset, sort_order=[shuffle])

    def dataset_for_scoring(self, split: str) -> Any:
        """The split from its longest example to its shortest, so that memory suffices for all if it does for the
        first.
        """
        dataset = self.dataset(split)
        if type(dataset) not in (SortDataset, NestedDictionaryDataset):
            return dataset  # a subclass's own, whose order may mean something
        loaded, ordered = self._by_length.get(split, (None, None))
        if loaded is not dataset:  # kept, because the iterator over it is
            lengths = dataset.num_tokens_vec(np.arange(len(dataset)))
            ordered = SortDataset(dataset, sort_order=[-lengths.astype(np.int64)])
            self._by_length[split] = (dataset, ordered)
        return ordered

    def _part(self, name: str, split: str, combine: bool, dictionary: Optional[Dictionary] = None) -> Any:
        """The indexed dataset `name/split`, None if there is none."""
        path = os.path.join(self.cfg.data, name, split)
        return data_utils.load_indexed_dataset(path, dictionary or self.dictionary, combine=combine)

    def _source(self, input0: Any, input1: Any, split: str) -> Any:
        """What the model reads: both sentences with the tokens that mark start and boundary."""
        cfg = self.cfg
        if cfg.init_token is not None:
            input0 = PrependTokenDataset(input0, cfg.init_token)
        if input1 is None:
            return input0
        if len(input1) != len(input0):
            raise DataError(
                f"task.data={cfg.data}: split {split!r} has {len(input0)} examples in input0 but {len(input1)} "
                "in input1; prepare the data again"
            )
        if cfg.separator_token is not None:
            input1 = PrependTokenDataset(input1, cfg.separator_token)
        return ConcatSentencesDataset(input0, input1)

    def _labels(self, split: str, combine: bool, num_examples: int) -> Any:
        """Dataset of targets, None if the split has no labels."""
        cfg = self.cfg
        path = os.path.join(cfg.data, "label", split)
        if cfg.regression_target:
            path += ".label"
            targets: Any = read_numbers(path, cfg.num_classes) if exists(path) else None
        else:
            dictionary = self.label_dictionary
            assert dictionary is not None
            symbols = self._part("label", split, combine, dictionary)
            targets = None if symbols is None else read_classes(symbols, dictionary, cfg.num_classes, path)
        if targets is None:
            return None
        if len(targets) != num_examples:
            raise DataError(f"{path}: {len(targets)} labels for {num_examples} examples of split {split!r}")
        return RawLabelDataset(targets)

    # -- model -------------------------------------------------------------------------------------------------------

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """The model, as long as this task's inputs may be, with a classification head for its classes."""
        from fairseq.models.config import writable

        with writable(cfg):
            cfg.max_positions = self.cfg.max_positions
        model = super().build_model(cfg, from_checkpoint)
        name, outputs = self.head()
        model.register_classification_head(name, num_classes=outputs)  # type: ignore[operator]
        return model

    def head(self) -> tuple[str, int]:
        """The model's classification head for this task: its name, and what it predicts for an input."""
        return self.cfg.classification_head_name, self.cfg.num_classes

    def max_positions(self) -> int:
        return self._max_positions

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def label_dictionary(self) -> Optional[Dictionary]:
        """Names of the classes: class c is symbol c + nspecial."""
        return self._label_dictionary
