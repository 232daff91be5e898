"""`task=span_masked_lm`: say what stood in the spans that were taken out, as T5 is pre-trained.

    wiki-bin/{dict.txt,train.bin,train.idx,valid.bin,valid.idx}

The text is cut into blocks of `tokens_per_sample` (`<s>` and `</s>` included); see
`fairseq.data.span_mask_tokens_dataset` for spans and sentinels. Sentinels are the last symbols of the dictionary, which
should be unused ones (`fairseq-preprocess --padding-factor`). With several folders each epoch reads the next.
"""

import logging
from typing import Any

from fairseq.data import Dictionary
from fairseq.data.span_mask_tokens_dataset import SpanMaskedTokensDataset
from fairseq.dataclass.pretraining import SpanMaskedLMConfig
from fairseq.errors import ConfigError
from fairseq.tasks import register_task
from fairseq.tasks.denoising import DenoisingTask

__all__ = ["SpanMaskedLMConfig", "SpanMaskedLMTask"]

logger = logging.getLogger(__name__)


@register_task("span_masked_lm", dataclass=SpanMaskedLMConfig)
class SpanMaskedLMTask(DenoisingTask):
    """Spans to fill in; see the head of this file."""

    def __init__(self, cfg: Any, dictionary: Dictionary):
        super(DenoisingTask, self).__init__(cfg)  # no <mask> here
        self.dictionary = dictionary

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: missing or empty.
        """
        cfg = self.cfg
        if cfg.include_target_tokens:
            raise ConfigError("task.include_target_tokens is not supported by span_masked_lm; set it to false")
        blocks = self._load_dataset_split(split, epoch, combine)
        self.datasets[split] = SpanMaskedTokensDataset(
            blocks, self.dictionary, cfg.noise_density, cfg.mean_noise_span_length, cfg.shuffle, cfg.seed
        )
        logger.info(f"Split: {split}, Loaded {len(blocks)} samples of span_masked_tokens_dataset")
