"""Examples of several data sets in given shares, drawn anew for every epoch.

>>> from fairseq.data import IdDataset
>>> class Numbers(IdDataset):                                  # ids, each of one token
...     def __len__(self): return 6
...     def num_tokens(self, index): return 1
>>> mixed = MultiCorpusDataset({"a": Numbers(), "b": Numbers()}, [0.75, 0.25], seed=3)
>>> mixed.set_epoch(1)
>>> [mixed._map_index(int(index))[1] for index in sorted(mixed.ordered_indices())]
['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'b', 'b', 'b']
"""

import logging
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.seeding import numpy_seed
from fairseq.errors import DataError

logger = logging.getLogger(__name__)


class MultiCorpusDataset(FairseqDataset):
    """As many examples as all data sets have, of which each has its share; small ones repeat, large ones are cut.

    Call `set_epoch` before `ordered_indices`. Items that are dicts also have a `full_id`, by which `collater` knows
    their data set: with `batch_sample` all items of a batch are of one.

    Args:
        datasets: name -> data set.
        distribution: the share of each; they add up to 1.
        seed: of the draws, together with the epoch.
        sort_indices: order examples by tokens.
        batch_sample: batches are made of one data set each.
        distributed_rank: of this process; with it, batches of one data set each come in an order of their own.

    Raises:
        DataError: shares that do not add up to 1, or not one for each data set.
    """

    def __init__(
        self,
        datasets: Mapping[str, Any],
        distribution: list[float],
        seed: int,
        sort_indices: bool = False,
        batch_sample: bool = False,
        distributed_rank: Optional[int] = None,
    ):
        super().__init__()
        if len(datasets) != len(distribution) or abs(sum(distribution) - 1) > 1e-6:
            raise DataError(f"{len(datasets)} data sets need as many shares that add up to 1, not {list(distribution)}")
        self.datasets, self.distribution, self.seed = datasets, distribution, seed
        self.sort_indices, self.batch_sample, self.distributed_rank = sort_indices, batch_sample, distributed_rank
        self.dataset_list = list(datasets.values())
        self.total_num_instances = sum(map(len, self.dataset_list))
        self.dataset_offsets = np.cumsum([0, *map(len, self.dataset_list)])
        self.epoch: Optional[int] = None

    def ordered_indices(self) -> np.ndarray:
        """The epoch's examples; an index may occur several times."""
        assert self.epoch is not None, "call set_epoch first"
        chosen: list[int] = []
        with numpy_seed(self.seed, self.epoch):
            for number, dataset in enumerate(self.dataset_list):
                last = number == len(self.dataset_list) - 1
                share = int(self.distribution[number] * self.total_num_instances)
                count = self.total_num_instances - len(chosen) if last else share
                logger.info(f"sampling {count} from {list(self.datasets)[number]} dataset")
                order = np.random.permutation(len(dataset))
                times, rest = divmod(count, len(dataset))
                own = np.concatenate([np.repeat(np.arange(len(dataset)), times), order[:rest]])
                chosen += list(own + self.dataset_offsets[number])
            np.random.shuffle(chosen)
        if self.sort_indices:
            chosen.sort(key=self.num_tokens)
        return np.array(chosen, dtype=np.int64)

    def _map_index(self, index: int) -> tuple[int, str]:
        """The number of an example in its data set, and that one's name."""
        number = int(np.searchsorted(self.dataset_offsets, index, side="right")) - 1
        return int(index - self.dataset_offsets[number]), list(self.datasets)[number]

    def __len__(self) -> int:
        return self.total_num_instances

    def __getitem__(self, index: int) -> Any:
        own, name = self._map_index(index)
        item = self.datasets[name][own]
        if isinstance(item, dict):
            item["full_id"] = index
        return item

    def collater(self, samples: list) -> Any:
        if not samples:
            return None
        if "full_id" in samples[0]:
            _, name = self._map_index(samples[0]["full_id"])
            return self.datasets[name].collater(samples)
        return self.dataset_list[0].collater(samples)

    def num_tokens(self, index: int) -> int:
        own, name = self._map_index(index)
        return int(self.datasets[name].num_tokens(own))

    def size(self, index: int) -> Any:
        own, name = self._map_index(index)
        return self.datasets[name].size(own)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return False

    def set_epoch(self, epoch: int, **unused: Any) -> None:
        super().set_epoch(epoch)
        for dataset in self.dataset_list:
            dataset.set_epoch(epoch)
        self.epoch = epoch

    @property
    def supports_prefetch(self) -> bool:
        return False

    @property
    def supports_fetch_outside_dataloader(self) -> bool:
        return all(getattr(data, "supports_fetch_outside_dataloader", True) for data in self.dataset_list)

    def batch_by_size(
        self,
        indices: Any,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        required_batch_size_multiple: int = 1,
    ) -> Any:
        if not self.batch_sample:
            return super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        of = np.searchsorted(self.dataset_offsets, indices, side="right") - 1
        batches: list[Any] = []
        for number, name in enumerate(self.datasets):
            own = np.asarray(indices)[of == number]
            made = super().batch_by_size(own, max_tokens, max_sentences, required_batch_size_multiple)
            logger.info(f"Created {len(made)} batches for dataset {name}")
            batches += made
        if self.distributed_rank is not None:
            with numpy_seed(self.seed, self.epoch or 0, self.distributed_rank):
                np.random.shuffle(batches)  # type: ignore[arg-type]
        return batches
