"""`ImageDataset`: normalized images with labels, in a new random order in each epoch, shifted and mirrored if wanted.

What happens to an image depends on (seed, epoch, index) only, so a resumed run does it again.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq.data import FairseqDataset


class ImageDataset(FairseqDataset):
    """Images and their classes.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N) int64.
        mean, std: of each channel, for pixels from 0 to 1.
        shuffle: a new order in each epoch.
        max_shift: move the image by up to this many pixels in each direction; what comes in is black.
        flip: mirror half of the images.
        seed: of shifts and flips.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        mean: Sequence[float],
        std: Sequence[float],
        shuffle: bool = False,
        max_shift: int = 0,
        flip: bool = False,
        seed: int = 1,
    ):
        self.images, self.labels = images, labels
        self.mean, self.std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)
        self.shuffle, self.max_shift, self.flip, self.seed = shuffle, max_shift, flip, seed
        self.epoch = 1

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return not self.shuffle

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = self.images[index]
        if self.max_shift or self.flip:
            pixels = self.augment(pixels, np.random.default_rng((self.seed, self.epoch, int(index))))
        image = (torch.from_numpy(pixels.astype(np.float32) / 255) - self.mean) / self.std
        return {"id": int(index), "image": image, "label": int(self.labels[index])}

    def augment(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(C, H, W) shifted and mirrored."""
        _, height, width = pixels.shape
        if self.max_shift:
            border = self.max_shift
            top, left = rng.integers(0, 2 * border + 1, size=2)
            padded = np.pad(pixels, ((0, 0), (border, border), (border, border)))
            pixels = padded[:, top : top + height, left : left + width]
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, :, ::-1]
        return pixels

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch: `net_input.images` (B, C, H, W), `target` (B)."""
        if not samples:
            return {}
        images: Tensor = torch.stack([sample["image"] for sample in samples])
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "net_input": {"images": images},
            "target": torch.tensor([sample["label"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": len(samples),
        }

    def num_tokens(self, index: int) -> int:
        return 1

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.ones(len(indices), dtype=np.int64)

    def size(self, index: int) -> int:
        return 1

    def ordered_indices(self) -> np.ndarray:
        return np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
