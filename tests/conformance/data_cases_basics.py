"""Cases: dictionaries, collating, batches, filters, seeds."""

import itertools

import numpy as np
import torch
from data_case_tools import case, dictionary, plain


@case
def dictionary_encode():
    d = dictionary(20)
    return plain(
        [
            d.encode_line("w1 w3  nope\tw2 ", add_if_not_exist=False),
            d.encode_line("w1 new w2", append_eos=False, reverse_order=True),
            d.string(torch.tensor([0, 4, 5, 3, 2, 1])),
            d.string(torch.tensor([[4, 5, 2], [6, 3, 2]]), bpe_symbol="@@ ", escape_unk=True),
            d.string([4, 5, 2], extra_symbols_to_ignore=[5], include_eos=True),
            len(d),
        ]
    )


@case
def dictionary_finalize():
    from fairseq.data import Dictionary

    out = []
    for threshold, nwords, padding in itertools.product([-1, 2, 3], [-1, 0, 3, 6, 9], [0, 1, 8]):
        d = Dictionary()
        for word in ["the"] * 3 + ["a"] * 3 + ["b", "zeta", "eta", "eta", "</s>", "</s>"]:
            d.add_symbol(word)
        d.finalize(threshold=threshold, nwords=nwords, padding_factor=padding)
        out.append([d.symbols, d.count])
    return out


@case
def post_processing():
    from fairseq.data.data_utils import post_process

    sentences = [
        "he@@ llo wor@@ ld",
        "\u2581he llo \u2581wor ld",
        "h e | w o |",
        "ab_ cd_ e",
        " a b@@",
        "",
        "a  <SIL> b",
    ]
    symbols = [None, "none", "@@ ", "@@", "subword_nmt", "sentencepiece", "wordpiece", "letter", "silence", "_EOW"]
    return [[post_process(sentence, symbol) for sentence in sentences] for symbol in symbols]


@case
def collating():
    from fairseq.data.data_utils import collate_tokens, lengths_to_padding_mask

    values = [torch.tensor(v) for v in ([1, 2, 3], [4], [5, 6])]
    out = []
    for left, eos, move, length, multiple, rows in itertools.product(
        [False, True], [None, 9], [False, True], [None, 2, 5], [1, 4], [None, 2, 5]
    ):
        options = dict(pad_to_length=length, pad_to_multiple=multiple, pad_to_bsz=rows)
        out.append(collate_tokens(values, 0, eos, left, move, **options))
    out.append(collate_tokens([torch.tensor([1.5]), torch.tensor([2.0, 3.0])], 0))
    out.append(lengths_to_padding_mask(torch.tensor([1, 3, 2])))
    return plain(out)


@case
def batches_by_size():
    """Where batches end. fairseq drops a last batch whose size is no multiple: left out of the comparison there."""
    from fairseq.data.data_utils import batch_by_size

    rng = np.random.RandomState(0)
    out = []
    for _ in range(300):
        multiple = int(rng.choice([1, 1, 2, 3, 4, 8]))
        high = rng.randint(1, 20)
        tokens = rng.randint(1, high + 1, size=rng.randint(multiple, 60))
        if rng.rand() < 0.5:
            tokens.sort()
        max_tokens = int(rng.choice([0, high, high + rng.randint(0, 100)])) or None
        max_sentences = int(rng.choice([0, rng.randint(1, 20)])) or None
        indices = np.arange(len(tokens)) + 7
        batches = batch_by_size(
            indices,
            lambda i, tokens=tokens: tokens[i - 7],
            tokens.astype(np.int64),
            max_tokens,
            max_sentences,
            multiple,
        )
        ends = np.cumsum([len(batch) for batch in batches]).tolist()
        if ends and ends[-1] == len(tokens) and (len(batches[-1]) % multiple):
            ends.pop()
        joined = [int(i) for batch in batches for i in batch]
        assert joined == indices[: len(joined)].tolist()
        out.append(ends)
    return out


@case
def filtering():
    from fairseq.data import FairseqDataset, data_utils

    class Sized(FairseqDataset):
        sizes = np.array([1, 5, 3, 9, 2, 30])

        def size(self, i):
            return self.sizes[i]

    class Pairs(FairseqDataset):
        def size(self, i):
            return [1, 5, 3, 9][i], [1, 2, 30, 3][i]

    src, tgt, order = np.array([1, 5, 3, 9]), np.array([1, 2, 30, 3]), np.array([3, 0, 1, 2])
    paired = data_utils.filter_paired_dataset_indices_by_size
    return plain(
        [Sized().filter_indices_by_size(np.arange(6), limit) for limit in (4, 4.0, (4,), (4, 5))]
        + [Pairs().filter_indices_by_size(order, limit) for limit in ((4, 4), (4, None), (None, 3), [4, 4])]
        + [paired(src, tgt, order, limit) for limit in ((4, 4), 5, None)]
        + [paired(src, None, order, (4, None))]
    )


@case
def seeds():
    from fairseq.data.data_utils import numpy_seed

    out = []
    for seed in [(0,), (1,), (1, 2), (1, 2, 3), (5, 0, 7)]:
        with numpy_seed(*seed):
            out.append(np.random.rand())
    return out
