import logging
import os
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from omegaconf import II, MISSING

from fairseq import metrics, utils
from fairseq.data import Dictionary, RightPadDataset, SortDataset, StripTokenDataset, data_utils
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import FairseqTask, register_task

from ..dataset import TaggingDataset

logger = logging.getLogger(__name__)

ORDER_CHOICES = ChoiceEnum(["random", "length"])


@dataclass
class TaggingConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "folder with words/ and tags/"})
    order: ORDER_CHOICES = field(default="random", metadata={"help": "order of the examples"})
    max_words: int = field(default=40, metadata={"help": "longest sentence", "argparse_alias": "--longest"})
    max_source_positions: Optional[int] = field(default=None, metadata={"help": "positions"})
    seed: int = II("common.seed")


@register_task("tagging", dataclass=TaggingConfig)
class TaggingTask(FairseqTask):
    cfg: TaggingConfig

    def __init__(self, cfg, word_dict, tag_dict):
        super().__init__(cfg)
        self.word_dict = word_dict
        self.tag_dict = tag_dict
        self.seen = 0

    @classmethod
    def setup_task(cls, cfg, **kwargs):
        paths = utils.split_paths(cfg.data)
        words = cls.load_dictionary(os.path.join(paths[0], "words", "dict.txt"))
        tags = Dictionary.load(os.path.join(paths[0], "tags", "dict.txt"))
        logger.info("%d words, %d tags", len(words), len(tags))
        return cls(cfg, words, tags)

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        path = os.path.join(utils.split_paths(self.cfg.data)[0], "{}", split)
        words = data_utils.load_indexed_dataset(path.format("words"), self.word_dict)
        tags = data_utils.load_indexed_dataset(path.format("tags"), self.tag_dict)
        if words is None:
            raise FileNotFoundError(f"Dataset not found: {split}")
        dataset = TaggingDataset(words, StripTokenDataset(tags, self.tag_dict.eos()), self.word_dict, self.tag_dict)
        if self.cfg.order == "random":
            with data_utils.numpy_seed(self.cfg.seed + epoch):
                dataset = SortDataset(dataset, sort_order=[np.random.permutation(len(dataset))])
        assert RightPadDataset is not None
        self.datasets[split] = dataset

    def build_model(self, cfg, from_checkpoint=False):
        model = super().build_model(cfg, from_checkpoint)
        assert model.num_tags == len(self.tag_dict) - self.tag_dict.nspecial
        return model

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        self.seen += sample["nsentences"]
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def reduce_metrics(self, logging_outputs, criterion):
        super().reduce_metrics(logging_outputs, criterion)
        metrics.log_scalar("seen", self.seen, priority=250, round=0)

    def max_positions(self):
        return self.cfg.max_words

    @property
    def source_dictionary(self):
        return self.word_dict

    @property
    def target_dictionary(self):
        return self.tag_dict
