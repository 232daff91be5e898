"""`task=denoising`: restore text from a noisy version of it, as BART is pre-trained (Lewis et al., arXiv:1910.13461).

    wiki-bin/{dict.txt,train.bin,train.idx,valid.bin,valid.idx}

The text is cut into blocks of `tokens_per_sample` (`<s>` and `</s>` included) as `sample_break_mode` says
(`complete_doc` does what `complete` does, as in fairseq 0.12), and noise is put in, see `fairseq.data.sequence_noise`.
BART's own:

    --mask 0.3 --mask-length span-poisson --replace-length 1 --mask-random 0.1 --permute-sentences 1 --rotate 0

With several folders (`a-bin:b-bin`) each epoch reads the next.
"""

import logging
from typing import Any, Optional

from torch import Tensor

from fairseq.data import (
    AppendTokenDataset,
    DenoisingDataset,
    Dictionary,
    IdDataset,
    NestedDictionaryDataset,
    NumelDataset,
    PadDataset,
    PrependTokenDataset,
    StripTokenDataset,
    TokenBlockDataset,
)
from fairseq.dataclass.pretraining import DenoisingConfig
from fairseq.errors import ConfigError
from fairseq.file_io import exists
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried
from fairseq.tasks.running_text import (
    dictionary_path,
    encoding_of,
    part_of_epoch,
    split_text,
    text_dictionary,
    word_starts,
)

__all__ = ["DenoisingConfig", "DenoisingTask"]

logger = logging.getLogger(__name__)


@register_task("denoising", dataclass=DenoisingConfig)
class DenoisingTask(CarriesDictionaries):
    """Denoising; see the head of this file.

    Args:
        cfg: a `DenoisingConfig` node.
        dictionary: of the text; `<mask>` is added where it is missing.
    """

    def __init__(self, cfg: Any, dictionary: Dictionary):
        super().__init__(cfg)
        self.dictionary = dictionary
        self.mask_idx = dictionary.add_symbol("<mask>")

    @classmethod
    def setup_task(cls, cfg: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any) -> "DenoisingTask":
        """Load the dictionary from `cfg.data`; without that folder, from the state that a checkpoint carries."""
        if getattr(cfg, "permute", 0):  # which fairseq 0.12 accepts, and does not do
            raise ConfigError("task.permute is not supported; task.permute_sentences moves whole sentences")
        dictionary = carried(task_state, "source")
        if dictionary is None or exists(dictionary_path(cfg.data)):
            dictionary = cls.dictionary_of(cfg)
        return cls(cfg, dictionary, **kwargs)

    @classmethod
    def dictionary_of(cls, cfg: Any) -> Dictionary:
        return text_dictionary(cfg.data, logging.getLogger(cls.__module__))

    def dictionaries(self) -> dict[str, Dictionary]:
        return {"source": self.dictionary}

    # -- data --------------------------------------------------------------------------------------------------------

    def _load_dataset_split(self, split: str, epoch: int, combine: bool) -> Any:
        """The blocks of a split, `<s> ... </s>`."""
        folder = part_of_epoch(self.cfg.data, epoch)
        text = split_text(self.cfg, folder, split, self.dictionary, combine)
        blocks = self.blocks_of(StripTokenDataset(text, self.dictionary.eos()), self.dictionary.eos())
        logging.getLogger(type(self).__module__).info(f"loaded {len(blocks)} blocks from: {folder}/{split}")
        return blocks

    def blocks_of(self, text: Any, end: int, document_sep_len: int = 0) -> Any:
        """`text` in blocks with `<s>` in front and `end` behind.

        Args:
            document_sep_len: tokens in the lines between documents; 0: there are none. That is fairseq 0.12's value,
                which knows of documents in `multilingual_denoising` only.
        """
        blocks = TokenBlockDataset(
            text,
            text.sizes,
            self.cfg.tokens_per_sample - 2,
            pad=self.dictionary.pad(),
            eos=end,
            break_mode=str(self.cfg.sample_break_mode),
            document_sep_len=document_sep_len,
        )
        return AppendTokenDataset(PrependTokenDataset(blocks, self.dictionary.bos()), end)

    def noisy(self, blocks: Any, words: Optional[Tensor], end: Optional[int] = None) -> DenoisingDataset:
        """`blocks` with noise; `words`: per id 1 where it begins a word."""
        cfg, encoding = self.cfg, encoding_of(self.cfg)
        return DenoisingDataset(
            blocks,
            blocks.sizes,
            self.dictionary,
            self.mask_idx,
            words,
            shuffle=bool(cfg.shuffle_instance),
            seed=cfg.seed,
            mask=cfg.mask,
            mask_random=cfg.mask_random,
            insert=cfg.insert,
            rotate=cfg.rotate,
            permute_sentences=cfg.permute_sentences,
            bpe=getattr(encoding, "_name", encoding),
            replace_length=cfg.replace_length,
            mask_length=str(cfg.mask_length),
            poisson_lambda=cfg.poisson_lambda,
            eos=end,
        )

    def words(self) -> Optional[Tensor]:
        """Per id 1 where it begins a word; None where each token counts as one."""
        if str(self.cfg.mask_length) == "subword" or encoding_of(self.cfg) is None:
            return None
        return word_starts(self.cfg, self.dictionary, f"task.mask_length={self.cfg.mask_length}")

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: missing or empty.
        """
        blocks = self._load_dataset_split(split, epoch, combine)
        self.datasets[split] = self.noisy(blocks, self.words())
        logger.info(f"Split: {split}, Loaded {len(blocks)} samples of denoising_dataset")

    def build_dataset_for_inference(self, src_tokens: Any, src_lengths: Any, **kwargs: Any) -> Any:
        """Sentences to encode and to restore as they are, one example each."""
        pad, eos = self.dictionary.pad(), self.dictionary.eos()
        source = TokenBlockDataset(
            src_tokens,
            src_lengths,
            block_size=self.cfg.max_source_positions - 2,  # less <s> and </s>
            pad=pad,
            eos=eos,
            break_mode="eos",
        )
        shifted = PrependTokenDataset(StripTokenDataset(source, eos), eos)
        return NestedDictionaryDataset(
            {
                "id": IdDataset(),
                "net_input": {
                    "src_tokens": PadDataset(source, pad_idx=pad, left_pad=False),
                    "src_lengths": NumelDataset(source, reduce=False),
                    "prev_output_tokens": PadDataset(shifted, pad_idx=pad, left_pad=False),
                },
                "target": PadDataset(source, pad_idx=pad, left_pad=False),
            },
            sizes=[source.sizes],
        )

    def max_positions(self) -> tuple[int, int]:
        return self.cfg.max_source_positions, self.cfg.max_target_positions

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary
