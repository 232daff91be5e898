"""Cases: the datasets that tasks build."""

import numpy as np
import torch
from data_case_tools import case, dictionary, items, plain, stored


def sentence_prediction(count=12, num_inputs=2):
    """The dataset a sentence_prediction task builds."""
    from fairseq.data import (
        ConcatSentencesDataset,
        IdDataset,
        NestedDictionaryDataset,
        NumelDataset,
        NumSamplesDataset,
        OffsetTokensDataset,
        PrependTokenDataset,
        RightPadDataset,
        SortDataset,
        StripTokenDataset,
        TruncateDataset,
    )
    from fairseq.data.data_utils import numpy_seed

    inputs = [PrependTokenDataset(stored(items(i, count)), 2 if i else 0) for i in range(num_inputs)]
    tokens = TruncateDataset(ConcatSentencesDataset(*inputs) if num_inputs > 1 else inputs[0], 11)
    labels = stored([torch.tensor([4 + i % 3, 2]) for i in range(count)])
    with numpy_seed(1):
        shuffle = np.random.permutation(count)
    nested = NestedDictionaryDataset(
        {
            "id": IdDataset(),
            "net_input": {"src_tokens": RightPadDataset(tokens, 1), "src_lengths": NumelDataset(tokens, reduce=False)},
            "nsentences": NumSamplesDataset(),
            "ntokens": NumelDataset(tokens, reduce=True),
            "target": RightPadDataset(
                OffsetTokensDataset(StripTokenDataset(labels, id_to_strip=2), offset=-4), pad_idx=1
            ),
        },
        sizes=[tokens.sizes],
    )
    return SortDataset(nested, sort_order=[shuffle])


@case
def sentence_prediction_batches():
    out = []
    for num_inputs in (1, 2):
        dataset = sentence_prediction(num_inputs=num_inputs)
        order = dataset.ordered_indices()
        batches = dataset.batch_by_size(order, max_tokens=40, max_sentences=4)
        out.append([order, batches, dataset.size(3), dataset.num_tokens(3), len(dataset)])
        out.append([dataset.collater([dataset[i] for i in batch]) for batch in batches])
        out.append(dataset.filter_indices_by_size(order, 8))
    return plain(out)


def blocks(dataset):
    """All blocks; the third part of one-token blocks is left out (fairseq makes it too long)."""
    out = [dataset[i] for i in range(len(dataset))]
    out = [block[:2] if isinstance(block, tuple) and len(block[1]) == 1 else block for block in out]
    return plain([out, dataset.sizes, len(dataset)])


@case
def token_blocks():
    from fairseq.data import TokenBlockDataset

    rng = np.random.RandomState(0)
    out = []
    for _ in range(60):
        sequences = []
        for _ in range(rng.randint(1, 12)):  # documents, with separators of one token
            if sequences and rng.rand() < 0.4:
                sequences.append(torch.tensor([2]))
            else:
                sequences.append(torch.from_numpy(np.append(rng.randint(4, 50, rng.randint(1, 9)), 2)))
        data = stored(sequences)
        size = int(rng.randint(3, 14))
        for mode in ("none", "complete", "complete_doc", "eos"):
            for targets in (False, True):
                dataset = TokenBlockDataset(
                    data, data.sizes, size, pad=1, eos=2, break_mode=mode, include_targets=targets and mode != "eos"
                )
                out.append(blocks(dataset))
    return out


def masked(seed, **options):
    from fairseq.data import MaskTokensDataset, PrependTokenDataset

    d = dictionary(50)
    mask_idx = d.add_symbol("<mask>")
    data = PrependTokenDataset(stored(items(3, count=10, low=6, high=40)), 0)
    begins = torch.ones(len(d), dtype=torch.uint8)
    begins[10:30] = 0
    if options.pop("whole_words", False):
        options["mask_whole_words"] = begins
    source, target = MaskTokensDataset.apply_mask(data, d, pad_idx=1, mask_idx=mask_idx, seed=seed, **options)
    out = []
    for epoch in (1, 2):
        source.set_epoch(epoch)
        target.set_epoch(epoch)
        out.append([[source[i] for i in range(len(data))], [target[i] for i in range(len(data))]])
    return plain(out)


@case
def masked_tokens():
    return [
        masked(1),
        masked(2, mask_prob=0.5, leave_unmasked_prob=0.0, random_token_prob=0.0),
        masked(3, mask_prob=0.5, leave_unmasked_prob=0.3, random_token_prob=0.0),
        masked(4, mask_prob=0.5, leave_unmasked_prob=0.0, random_token_prob=0.3),
        masked(5, mask_prob=0.4, freq_weighted_replacement=True, random_token_prob=0.5),
        masked(6, mask_prob=0.3, mask_multiple_length=3),
        masked(7, mask_prob=0.3, mask_multiple_length=3, mask_stdev=1.0),
        masked(8, mask_prob=0.4, whole_words=True),
        masked(9, mask_prob=0.4, whole_words=True, mask_multiple_length=2),
    ]


def pairs(**options):
    from fairseq.data import LanguagePairDataset

    src, tgt = stored(items(0)), stored(items(1))
    if options.pop("no_target", False):
        return LanguagePairDataset(src, src.sizes, dictionary(), **options)
    return LanguagePairDataset(src, src.sizes, dictionary(), tgt, tgt.sizes, dictionary(), **options)


@case
def language_pairs():
    out = []
    for options in (
        {},
        {"shuffle": False},
        {"left_pad_source": False, "left_pad_target": True},
        {"input_feeding": False},
        {"remove_eos_from_source": True, "append_eos_to_target": True},
        {"append_bos": True},
        {"eos": 2, "pad_to_multiple": 8},
        {"src_lang_id": 5, "tgt_lang_id": 6},
        {"no_target": True},
    ):
        dataset = pairs(**options)
        np.random.seed(3)
        order = dataset.ordered_indices()
        batch = dataset.collater([dataset[i] for i in (0, 3, 4, 7)])
        batches = dataset.batch_by_size(order, max_tokens=30, required_batch_size_multiple=1)
        out.append([order, batch, batches, dataset.num_tokens(2), dataset.size(2), len(dataset)])
        if not options.get("no_target"):
            out.append(dataset.filter_indices_by_size(order, (5, 6)))
        out.append(dataset.num_tokens_vec(np.arange(4)))
    out.append(pairs().collater([]))
    links = [torch.tensor(v) for v in ([0, 0, 1, 1, 2, 1], [0, 0], [0, 0, 0, 1], [9, 9])]
    links = [links[i % 4] for i in range(12)]
    for left in (True, False):
        dataset = pairs(align_dataset=links, left_pad_source=left, left_pad_target=not left)
        out.append(dataset.collater([dataset[i] for i in (0, 3, 4, 7)]))
    words = [torch.tensor(v) for v in ([1, 7, 0], [0], [2, 7, 0, 8, 0])]
    dataset = pairs(constraints=[words[i % 3] for i in range(12)])
    out.append(dataset.collater([dataset[i] for i in (0, 3, 4, 8)]))
    return plain(out)


@case
def monolingual():
    from fairseq.data import MonolingualDataset, TokenBlockDataset

    data = stored(items(5, 20))
    out = []
    for options in (
        {"targets": ["future"]},
        {"targets": ["self"]},
        {"targets": ["future"], "add_bos_token": True},
        {"targets": ["future"], "shuffle": True},
        {"targets": ["future"], "fixed_pad_length": 12, "pad_to_bsz": 6},
        {"targets": ["self", "future", "past"]},
    ):
        for mode in ("none", "eos"):
            blocks = TokenBlockDataset(data, data.sizes, 10, pad=1, eos=2, break_mode=mode, include_targets=True)
            dataset = MonolingualDataset(
                blocks, blocks.sizes, dictionary(), dictionary(), add_eos_for_other_targets=mode == "eos", **options
            )
            np.random.seed(5)
            out.append([dataset.ordered_indices(), dataset.collater([dataset[i] for i in (0, 2, 3)]), dataset.size(1)])
    return plain(out)
