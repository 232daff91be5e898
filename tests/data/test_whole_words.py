"""Which ids begin a word, for whole-word masking."""

from argparse import Namespace

import torch

from fairseq.data import Dictionary, MaskTokensDataset
from fairseq.data.encoders.utils import get_whole_word_mask


def test_roberta_ids_that_begin_words_are_those_of_fairseq(bpe_dir):
    d = Dictionary.load(str(bpe_dir / "dict.txt"))
    mask = d.add_symbol("<mask>")
    files = {"gpt2_encoder_json": str(bpe_dir / "encoder.json"), "gpt2_vocab_bpe": str(bpe_dir / "vocab.bpe")}
    begins = get_whole_word_mask(Namespace(bpe="gpt2", **files), d)
    assert begins.shape == (50265,) and begins.dtype == torch.uint8 and begins.sum() == 33142  # fairseq 0.12's count
    assert begins[:4].all() and begins[d.index("madeupword0000")] == 1 and begins[mask] == 0
    hello, world, bang = d.encode_line("15496 995 0", add_if_not_exist=False)[:3].tolist()  # "Hello world!"
    assert (begins[hello], begins[world], begins[bang]) == (0, 1, 0)
    # masking hides "Hello", or " world!" with both of its tokens
    data = [torch.tensor([0, world, bang, world, bang, world, bang, 2])] * 40
    _, target = MaskTokensDataset.apply_mask(data, d, pad_idx=1, mask_idx=mask, mask_prob=0.3, mask_whole_words=begins)
    hidden = torch.stack([target[i] for i in range(40)]) != 1
    assert torch.equal(hidden[:, 1], hidden[:, 2]) and torch.equal(hidden[:, 3], hidden[:, 4])
    assert hidden[:, 1].any() and not hidden[:, 1].all()


def test_without_a_bpe_there_are_no_whole_words():
    assert get_whole_word_mask(Namespace(bpe=None), Dictionary()) is None
