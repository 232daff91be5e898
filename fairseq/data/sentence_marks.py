"""Sentences between `<s>` and `</s>`, as RoBERTa and BART read them: from pieces of text to token ids and back.

<s> one </s>      <s> one </s> </s> two </s>      <s> one </s> two </s>      (the last without separator)
"""

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import torch
from torch import Tensor


def encode_marked(pieces: Sequence[str], dictionary: Any, no_separator: bool) -> Tensor:
    """Token ids (T,) of sentences that are split into the dictionary's symbols.

    Args:
        no_separator: put a single `</s>` between sentences instead of two.
    """
    first, *others = pieces
    parts = [f"<s> {first} </s>", *(f"{each} </s>" if no_separator else f"</s> {each} </s>" for each in others)]
    return encode_symbols(" ".join(parts), dictionary)


def encode_symbols(text: str, dictionary: Any) -> Tensor:
    """Token ids (T,) of symbols between spaces, those for the ends of sentences among them."""
    return dictionary.encode_line(text, append_eos=False, add_if_not_exist=False).long()  # type: ignore[no-any-return]


def decode_marked(tokens: Tensor, dictionary: Any, bpe: Any) -> Union[str, list[str]]:
    """The text of `tokens` (T,); a list of texts if there are several sentences.

    Args:
        bpe: puts symbols together; None: spaces stay between them.
    """
    if tokens.dim() != 1:
        raise ValueError(f"decode takes one row of tokens, not a tensor of shape {tuple(tokens.shape)}")
    ids = tokens.cpu().numpy()
    if len(ids) and ids[0] == dictionary.bos():
        ids = ids[1:]
    ends = ids == dictionary.eos()
    cuts = (ends[1:] & ends[:-1]).nonzero()[0] + 1  # where one </s> follows another, a sentence begins
    pieces = [dictionary.string(torch.from_numpy(part)) for part in np.split(ids, cuts)]
    sentences = [piece if bpe is None else bpe.decode(piece) for piece in pieces]
    return sentences[0] if len(sentences) == 1 else sentences
