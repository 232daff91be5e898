"""Pairs of several languages in one data set: each row has the tokens of its own language."""

import numpy as np
import pytest
import torch

from fairseq.data import Dictionary, LanguagePairDataset, TransformEosConcatLangPairDataset


def pairs(first, count, left=False):
    words = Dictionary()
    sides = [[torch.tensor([first] * (1 + (i + side) % 3) + [2]) for i in range(count)] for side in (0, 1)]
    lengths = [np.array([len(item) for item in side]) for side in sides]
    return LanguagePairDataset(
        sides[0], lengths[0], words, sides[1], lengths[1], words, left_pad_source=left, left_pad_target=left
    )


@pytest.mark.parametrize("left", [False, True])
def test_every_row_has_its_languages_tokens(left):
    joined = TransformEosConcatLangPairDataset(
        [pairs(5, 3, left), pairs(6, 2, left)], 2, 2, new_src_eos=[41, 42], new_tgt_bos=[43, 44]
    )
    assert [joined[i][0] for i in range(5)] == [0, 0, 0, 1, 1]
    batch = joined.collater([joined[i] for i in (0, 4, 1, 3, 2)])
    source, previous = (batch["net_input"][name].tolist() for name in ("src_tokens", "prev_output_tokens"))
    assert len(source) == 5
    for row, other in zip(source, previous, strict=True):
        language = 5 if 5 in row else 6
        words = [token for token in row if token != 1]
        assert words[-1] == language + 36 and set(words[:-1]) == {language}
        assert next(token for token in other if token != 1) == language + 38
    assert (batch["target"] == 2).sum() == 5
    assert joined.collater([]) is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="new_src_eos has 1 tokens for 2 data sets"):
        TransformEosConcatLangPairDataset([pairs(5, 1), pairs(6, 1)], 2, 2, new_src_eos=[41])
    with pytest.raises(ValueError, match="padded on the same sides"):
        TransformEosConcatLangPairDataset([pairs(5, 1), pairs(6, 1, left=True)], 2, 2)
