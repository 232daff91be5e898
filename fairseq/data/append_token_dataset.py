"""Items with one token put at the end of each: `[5, 6]` -> `[5, 6, 2]`."""

import torch

from fairseq.data.added_token_dataset import AddedTokenDataset
from fairseq.data.ragged import BatchReader, Ragged


class AppendTokenDataset(AddedTokenDataset):
    """`token` None leaves items as they are."""

    def __getitem__(self, idx: int) -> torch.Tensor:
        item = self.dataset[idx]
        return item if self.token is None else torch.cat([item, item.new_tensor([self.token])])

    def gather(self, reader: BatchReader) -> Ragged:
        items = reader.gather(self.dataset)
        return items if self.token is None else items.append(self.token)
