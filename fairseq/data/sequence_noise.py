"""Noise for pre-training by denoising (BART; Lewis et al., arXiv:1910.13461, section 2.2), on one sequence
`<s> tokens </s>`:

    shuffle_sentences   a share of its sentences, which end in a full stop, change places
    mask_words          a share of its words (or of runs of words) become `<mask>`, a random token, or nothing
    insert_tokens       `<mask>` and random tokens come in between
    shuffle_tokens      a share of its tokens change places
    rotate              it begins at some other token

First and last token keep their places. What is drawn, and in which order, is what fairseq 0.12 draws: with its
generators in the same state, the same noise comes out.

>>> rotate(np.array([0, 5, 6, 7, 2]), 3)
array([0, 7, 5, 6, 2])
"""

import math
from typing import NamedTuple, Optional

import numpy as np
import torch

Generator = Optional[torch.Generator]  # None: torch's global one


class Replacement(NamedTuple):
    """What takes the place of tokens.

    Args:
        mask_idx: id of `<mask>`.
        random_prob: share of replaced tokens that become a random one instead.
        vocab_size: random tokens are drawn from 1 to this, without it.
    """

    mask_idx: int
    random_prob: float
    vocab_size: int

    def random_tokens(self, count: int, generator: Generator) -> np.ndarray:
        return torch.randint(1, self.vocab_size, (count,), generator=generator).numpy()


def share(count: int, prob: float) -> int:
    """How many of `count` a share is, rounded up."""
    return math.ceil(count * prob)


def permutation(count: int, generator: Generator) -> np.ndarray:
    return torch.randperm(count, generator=generator).numpy()


def sentence_ends(tokens: np.ndarray, full_stop: int) -> np.ndarray:
    """Where sentences end in the sequence: behind each full stop (the first of several in succession), and before the
    last token.

    >>> sentence_ends(np.array([0, 5, 9, 6, 7, 2]), full_stop=9)
    array([3, 5])
    """
    stops = tokens == full_stop
    stops[-2] = True  # the text's end is the last sentence's, with or without a full stop
    return np.flatnonzero(stops[1:] & ~stops[:-1]) + 2


def shuffle_sentences(tokens: np.ndarray, full_stop: int, prob: float, generator: Generator = None) -> np.ndarray:
    """`tokens` with a share `prob` of its sentences in each other's places."""
    ends = sentence_ends(tokens, full_stop)
    if not len(ends):
        return tokens
    begins = np.concatenate([[1], ends[:-1]])
    moved = permutation(len(ends), generator)[: share(len(ends), prob)]
    order = np.arange(len(ends))
    order[moved] = moved[permutation(len(moved), generator)]
    parts = [tokens[begins[number] : ends[number]] for number in order]
    return np.concatenate([tokens[:1], *parts, tokens[ends[-1] :]])


def shuffle_tokens(tokens: np.ndarray, prob: float, generator: Generator = None) -> np.ndarray:
    """`tokens` with a share `prob` of its tokens in each other's places."""
    count = share(len(tokens), prob)
    moved = permutation(len(tokens) - 2, generator)[:count] + 1
    result = tokens.copy()
    result[moved] = tokens[moved[permutation(len(moved), generator)]]
    return result


def rotate(tokens: np.ndarray, offset: int) -> np.ndarray:
    """`tokens` beginning, behind its first, with the one at `offset`."""
    return np.concatenate([tokens[:1], tokens[offset:-1], tokens[1:offset], tokens[-1:]])


def insert_tokens(tokens: np.ndarray, prob: float, by: Replacement, generator: Generator = None) -> np.ndarray:
    """`tokens` with a share `prob` of its length added, at random places between its ends."""
    count = share(len(tokens), prob)
    places = permutation(len(tokens) + count - 2, generator)[:count] + 1
    num_random = share(count, by.random_prob)
    result = np.empty(len(tokens) + count, dtype=tokens.dtype)
    own = np.ones(len(result), dtype=bool)
    own[places] = False
    result[own] = tokens
    result[places[num_random:]] = by.mask_idx
    result[places[:num_random]] = by.random_tokens(num_random, generator)
    return result


def mask_words(
    tokens: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    replace_length: int,
    by: Replacement,
    generator: Generator = None,
) -> np.ndarray:
    """`tokens` with runs of words replaced, each from a word that is drawn.

    Args:
        starts: places where words begin, (W,), neither the first nor the last place.
        lengths: words in each run, (R,) with R <= W; one that would go beyond the last word ends there.
        replace_length: tokens that stand for a run: 0, 1, or -1 for as many as it has.
    """
    drawn = permutation(len(starts), generator)[: len(lengths)]
    bounds = np.append(starts, len(tokens) - 1)
    firsts, ends = starts[drawn], bounds[np.minimum(drawn + lengths, len(starts))]
    is_random = torch.empty(len(firsts)).uniform_(generator=generator).numpy() < by.random_prob

    result, kept = tokens.copy(), np.ones(len(tokens), dtype=bool)
    if replace_length != 0:
        _replace(result, firsts, is_random, by, generator)
    for depth in range(1, int((ends - firsts).max()) if len(firsts) else 0):  # in order of the draws, not of the runs
        inside = firsts + depth < ends
        if replace_length == -1:
            _replace(result, firsts[inside] + depth, is_random[inside], by, generator)
        else:
            kept[firsts[inside] + depth] = False
    if replace_length == 0:
        kept[firsts] = False
    return result[kept]


def _replace(
    tokens: np.ndarray, places: np.ndarray, is_random: np.ndarray, by: Replacement, generator: Generator
) -> None:
    tokens[places] = by.mask_idx
    tokens[places[is_random]] = by.random_tokens(int(is_random.sum()), generator)


def poisson(mean: float) -> torch.distributions.Categorical:
    """Lengths of runs: Poisson's distribution, cut off where it falls below 1e-7."""
    probs = [math.exp(-mean)]
    while probs[-1] >= 1e-7:
        probs.append(math.exp(-mean) * mean ** len(probs) / math.factorial(len(probs)))
    return torch.distributions.Categorical(torch.tensor(probs))


def run_lengths(count: int, distribution: torch.distributions.Categorical, generator: Generator = None) -> np.ndarray:
    """Lengths, some of them zero, whose sum is `count`; the last one is cut to fit."""
    lengths = np.empty(0, dtype=np.int64)
    while lengths.sum() < count:
        # what `distribution.sample` draws, from a generator
        drawn = torch.multinomial(distribution.probs[None], count, replacement=True, generator=generator)
        lengths = np.concatenate([lengths, drawn[0].numpy()])
    last = int(np.searchsorted(lengths.cumsum(), count))
    lengths = lengths[: last + 1]
    lengths[last] -= lengths.sum() - count
    return lengths
