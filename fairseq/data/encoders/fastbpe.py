"""`bpe=fastbpe`: byte-pair encoding by a file of fastBPE, see `subword_nmt_bpe`.

>>> without_counts("t h 30\\nth e</w> 12\\n")
'#version: 0.2\\nt h\\nth e</w>\\n'
"""

from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.libraries import read_text
from fairseq.data.encoders.subword_nmt_bpe import MergesBPE
from fairseq.dataclass.encoders import FastBPEConfig

fastBPEConfig = FastBPEConfig  # fairseq's name


def without_counts(codes: str) -> str:
    """The merges alone, as subword-nmt reads them."""
    merges = [" ".join(line.split()[:2]) for line in codes.splitlines() if line.strip()]
    return "#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges)


@register_bpe("fastbpe", dataclass=FastBPEConfig)
class fastBPE(MergesBPE):
    """By a file of fastBPE."""

    def __init__(self, cfg: Any):
        codes = without_counts(read_text(cfg.bpe_codes, "bpe_codes"))
        super().__init__(codes, cfg.bpe_codes, "@@", "bpe=fastbpe")
