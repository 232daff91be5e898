"""`bpe=subword_nmt` and `bpe=fastbpe`: byte-pair encoding by a file of merges (Sennrich et al. 2016), by the library
subword-nmt. `hello wo@@ r@@ ld`: a piece that does not end a word ends with a mark.

fastBPE's files hold the same merges with their counts and without a version line.
"""

import io
from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.libraries import library, read_text
from fairseq.dataclass.encoders import SubwordNMTBPEConfig
from fairseq.errors import DataError


class MergesBPE:
    """Words in pieces.

    Args:
        codes: the file's text; `path`: its name, for messages.
        separator: the mark.
    """

    def __init__(self, codes: str, path: str, separator: str, component: str):
        apply_bpe = library("subword_nmt.apply_bpe", "subword-nmt", component)
        try:
            self.bpe = apply_bpe.BPE(io.StringIO(codes), separator=separator)
        except (Exception, SystemExit) as error:  # the library ends the process at a malformed line
            raise DataError(f"{component}: {path} is no file of merges ({type(error).__name__})") from None
        self.bpe_symbol = separator + " "

    def encode(self, x: str) -> str:
        return self.bpe.process_line(x)

    def decode(self, x: str) -> str:
        return (x + " ").replace(self.bpe_symbol, "").rstrip()


@register_bpe("subword_nmt", dataclass=SubwordNMTBPEConfig)
class SubwordNMTBPE(MergesBPE):
    """By a file of the subword-nmt library."""

    def __init__(self, cfg: Any):
        codes = read_text(cfg.bpe_codes, "bpe_codes")
        super().__init__(codes, cfg.bpe_codes, cfg.bpe_separator, "bpe=subword_nmt")
