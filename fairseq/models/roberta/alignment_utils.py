"""Features per word from features per byte-pair token.

A word's feature is the sum of its tokens' features; a token that spans several words gives each an equal share. The sum
over words therefore equals the sum over tokens.

>>> tokens_of_words([(0, 3), (3, 5), (5, 8), (8, 10), (10, 11)], ["Hello ", "world", "!"])
[[0, 1], [2, 3], [4]]
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from fairseq.data.encoders.hf_tokenizer import PieceEncoder
from fairseq.errors import ConfigError, DataError

_INCOMPLETE = "\ufffd"  # what decoders put in place of bytes that are no whole character


def spans_of_tokens(texts: list[str]) -> list[tuple[int, int]]:
    """The characters that each token covers, spaces not counted.

    Args:
        texts: the text of the first token, of the first two, of the first three, ... A token may end inside a
            character; the text ends with a replacement character then, and the token covers that character, too.
    """
    spans, start = [], 0
    for text in texts:
        bare = _bare(text)
        end = len(bare.rstrip(_INCOMPLETE))
        spans.append((start, max(end, start + 1) if bare.endswith(_INCOMPLETE) else end))
        start = end
    return spans


def spans_of_pieces(offsets: list[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """Places in `text` as places in the text without its spaces.

    >>> spans_of_pieces([(0, 2), (2, 5), (5, 6)], "ab cd e")
    [(0, 2), (2, 4), (4, 4)]
    """
    before = [0]
    for character in text:
        before.append(before[-1] + (not character.isspace()))
    return [(before[start], before[end]) for start, end in offsets]


def tokens_of_words(spans: list[tuple[int, int]], words: list[str]) -> list[list[int]]:
    """For each word the numbers of the tokens whose spans share a character with it; spaces do not count."""
    result, start = [], 0
    for word in words:
        end = start + len(_bare(word))
        result.append([number for number, (first, last) in enumerate(spans) if first < end and last > start])
        start = end
    return result


def _bare(text: str) -> str:
    return "".join(text.split())


def align_bpe_to_words(roberta: Any, bpe_tokens: Tensor, other_tokens: list[str]) -> list[list[int]]:
    """Positions in `bpe_tokens` (T,) of each word of `other_tokens`; `<s>` (position 0) and `</s>` belong to no word.

    Args:
        roberta: a RobertaHubInterface.
        bpe_tokens: ids as `roberta.encode` gives them.
        other_tokens: the words of the same sentence.

    Raises:
        DataError: the words are not the tokens' text.
    """
    if isinstance(roberta.bpe, PieceEncoder):  # lower case and accents may be gone from its pieces: go by position
        spaced = any(word != word.rstrip() for word in other_tokens)
        text = "".join(other_tokens) if spaced else " ".join(other_tokens)
        spans = spans_of_pieces(roberta.bpe.offsets(text), text)
        if len(spans) != len(bpe_tokens) - 2:
            raise DataError(
                f"the words {text!r} give {len(spans)} tokens, not the {len(bpe_tokens) - 2} of the features"
            )
        return [[1 + number for number in numbers] for numbers in tokens_of_words(spans, other_tokens)]
    symbols = [roberta.task.source_dictionary[number] for number in bpe_tokens[1:-1].tolist()]
    texts = [roberta.bpe.decode(" ".join(symbols[: count + 1])) for count in range(len(symbols))]
    if _bare(texts[-1] if texts else "") != _bare("".join(other_tokens)):
        raise DataError(f"the words {''.join(other_tokens)!r} are not the text of the tokens, {''.join(texts[-1:])!r}")
    numbers_of_words = tokens_of_words(spans_of_tokens(texts), other_tokens)
    return [[1 + number for number in numbers] for numbers in numbers_of_words]


def align_features_to_words(roberta: Any, features: Tensor, alignment: list[list[int]]) -> Tensor:
    """Features (1 + words + 1, C): those of `<s>`, of each word, of `</s>`.

    Args:
        features: (T, C).
        alignment: positions of each word's tokens.
    """
    shares = Counter(position for positions in alignment for position in positions)
    weights = features.new_tensor([1 / max(shares[position], 1) for position in range(features.size(0))])
    shared = features * weights.unsqueeze(1)
    words = [shared[positions].sum(dim=0) for positions in alignment]
    return torch.stack([shared[0], *words, shared[-1]])


def spacy_nlp() -> Any:
    """spaCy's English pipeline with its tokenizer only."""
    try:
        import spacy
    except ImportError:
        raise ConfigError("extract_features_aligned_to_words needs spaCy: pip install spacy") from None
    return spacy.blank("en")


def spacy_doc(nlp: Any, words: list[str], spaces: list[bool]) -> Any:
    """A spaCy Doc of `words` between `<s>` and `</s>`."""
    from spacy.tokens import Doc

    return Doc(nlp.vocab, words=["<s>", *words, "</s>"], spaces=[True, *spaces[:-1], True, False])
