"""Which symbols of a subword encoding begin a word, for masking."""

from typing import Any, Optional

import torch

from fairseq.data.encoders import build_bpe
from fairseq.errors import ConfigError


def get_whole_word_mask(args: Any, dictionary: Any) -> Optional[torch.Tensor]:
    """For each id of the dictionary 1 where it begins a word, uint8 `(len(dictionary),)`; None without a BPE.

    Special symbols, fill-in words and symbols unknown to the BPE count as words.

    Args:
        args: the `bpe` config or its name, as for `build_bpe`.

    Raises:
        ConfigError: a BPE that cannot tell.
    """
    bpe = build_bpe(args)
    if bpe is None:
        return None
    if not hasattr(bpe, "is_beginning_of_word"):
        raise ConfigError(f"bpe {type(bpe).__name__} cannot say which symbols begin words; mask without whole words")

    def begins_word(idx: int) -> bool:
        symbol = dictionary[idx]
        if idx < dictionary.nspecial or symbol.startswith("madeupword"):
            return True
        try:
            return bpe.is_beginning_of_word(symbol)
        except ValueError:
            return True

    return torch.tensor([begins_word(idx) for idx in range(len(dictionary))], dtype=torch.uint8)
