"""What the runs of pretraining_cases.py need: a subword encoding; and of fairseq 0.12 what it cannot do by itself.

- It asks NumPy for Python 2's long, which is gone: `--sample-break-mode eos` fails without it.
- `--mask-whole-words` looks for the encoding in `task.args`, which `masked_lm` no longer has.
- Noise is drawn from torch's global generator, whose state nothing fixes: here it is seeded for each item, as ours is.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import torch

from fairseq.data import encoders
from fairseq.dataclass import FairseqDataclass


@dataclass
class MarksConfig(FairseqDataclass):
    """It has no settings; fairseq 0.12 needs a config to choose it by name."""


class Marks:
    """Symbols that begin with ## go on with the word before."""

    def __init__(self, *unused):
        pass

    def encode(self, text):
        return text

    def decode(self, text):
        return text.replace(" ##", "")

    def is_beginning_of_word(self, symbol):
        return not symbol.startswith("##")


if "marks" not in encoders.BPE_REGISTRY:
    encoders.register_bpe("marks", dataclass=MarksConfig)(Marks)

if find_spec("fairseq.native") is None:  # fairseq 0.12
    np.compat = SimpleNamespace(long=int)

    from fairseq.data import DenoisingDataset
    from fairseq.tasks.masked_lm import MaskedLMTask

    MaskedLMTask.args = "marks"
    noisy_item = DenoisingDataset.__getitem__

    def item(self, index):
        torch.manual_seed(int(hash((self.seed, self.epoch, int(index))) % 1e6))
        return noisy_item(self, index)

    DenoisingDataset.__getitem__ = item
