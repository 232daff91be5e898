"""Items with one token put in front of each: `[5, 6, 2]` -> `[0, 5, 6, 2]`."""

import torch

from fairseq.data.added_token_dataset import AddedTokenDataset
from fairseq.data.ragged import BatchReader, Ragged


class PrependTokenDataset(AddedTokenDataset):
    """`token` None leaves items as they are."""

    def __getitem__(self, idx: int) -> torch.Tensor:
        item = self.dataset[idx]
        return item if self.token is None else torch.cat([item.new_tensor([self.token]), item])

    def gather(self, reader: BatchReader) -> Ragged:
        items = reader.gather(self.dataset)
        return items if self.token is None else items.insert(self.token)
