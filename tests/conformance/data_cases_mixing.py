"""Cases: data sets that mix others by shares, language tokens, epochs over groups of batches."""

from collections import OrderedDict

import numpy as np
import torch
from data_case_tools import case, dictionary, items, plain


def pairs(count, seed, shuffle=True):
    from fairseq.data import LanguagePairDataset

    sides = [items(seed=seed + side, count=count, high=7) for side in (0, 100)]
    lengths = [np.array([len(item) for item in side]) for side in sides]
    words = dictionary()
    return LanguagePairDataset(
        sides[0], lengths[0], words, sides[1], lengths[1], words, shuffle=shuffle, left_pad_source=False
    )


def three():
    return OrderedDict([("a", pairs(12, 1)), ("b", pairs(5, 2)), ("c", pairs(3, 3))])


def held(dataset):
    return [dataset._get_dataset_and_index(i) for i in range(len(dataset))]


def order(dataset):
    np.random.seed(3)
    return dataset.ordered_indices()


@case
def sampled_multi_dataset():
    from fairseq.data import SampledMultiDataset

    out = []
    for ratios, options in (
        (None, {}),
        ([0.5, 0.3, 0.2], {}),
        ([0.2, 0.3, 0.5], {}),
        ([5, 3, 1], {"virtual_size": 20}),
        ([0.5, 0.3, 0.2], {"virtual_size": 31, "shuffle": False}),
    ):
        dataset = SampledMultiDataset(three(), sampling_ratios=ratios, seed=7, split="train", **options)
        for epoch in (1, 2, 5):
            dataset.set_epoch(epoch)
            out.append([held(dataset), dataset.sizes, order(dataset)])
        out.append(dataset.filter_indices_by_size(np.arange(len(dataset)), (5, 4)))
        out.append([dataset.size(4), dataset.num_tokens(4), dataset.num_tokens_vec(np.array([0, 3, 1]))])
        for shared in (False, True):
            dataset.shared_collater = shared
            out.append(dataset.collater([dataset[i] for i in (0, 13, 5, 18, 2)]))
    return plain(out)


@case
def sampled_multi_epoch_dataset():
    from fairseq.data import SampledMultiEpochDataset

    out = []
    for size in (None, 7, 12, 40):
        dataset = SampledMultiEpochDataset(
            three(), sampling_ratios=[0.5, 0.3, 0.2], virtual_epoch_size=size, seed=7, split="train"
        )
        for epoch in range(1, 8):
            dataset.set_epoch(epoch)
            out.append([len(dataset), held(dataset), dataset.sizes, order(dataset)])
    return plain(out)


@case
def sampling_methods():
    from fairseq.data.multilingual.sampled_multi_dataset import default_virtual_size_func
    from fairseq.data.multilingual.sampling_method import make_ratio_sampling, make_temperature_sampling, uniform

    sizes = [90, 40, 7]
    out = [uniform(sizes), make_ratio_sampling([0.2, 0.8])(sizes)]
    out += [[round(share, 12) for share in make_temperature_sampling(t)(sizes)] for t in (1.0, 1.5, 5.0, 100.0)]
    lists = [range(size) for size in sizes]
    out += [default_virtual_size_func(lists, ratios) for ratios in (None, [0.5, 0.3, 0.2], [0.1, 0.1, 0.8])]
    return plain(out)


@case
def language_tokens():
    from fairseq.data import Dictionary
    from fairseq.data.multilingual.multilingual_utils import augment_dictionary, get_lang_tok

    out = []
    for style in ("multilingual", "mbart"):
        for specs, extra in ((("main",), None), (("main", "mono_dae"), None), (("main",), {"mined": "x"})):
            words = Dictionary()
            augment_dictionary(words, ["en_XX", "de_DE"], style, specs, extra)
            out.append(words.symbols)
        out.append([get_lang_tok("fr", style, spec) for spec in ("main", "mono_dae")])
    words = Dictionary()
    augment_dictionary(words, ["en"], "multilingual", ("main",), {"mono_dae": "x"})
    return plain([*out, words.symbols])


@case
def epochs_over_groups():
    """Batches that fill groups: of the others, which come last here, fairseq 0.12 makes none."""
    from fairseq.data import ListDataset
    from fairseq.data.iterators import GroupedEpochBatchIterator

    out = []
    numbers = ListDataset(torch.arange(40), [1] * 40)
    samplers = [[[2 * i, 2 * i + 1] for i in range(6)], [[12 + i] for i in range(18)]]
    for shards, shard, rate in ((1, 0, 1), (1, 0, 3), (2, 0, 1), (2, 1, 3), (3, 2, 2)):
        iterator = GroupedEpochBatchIterator(
            numbers, list, samplers, seed=5, num_shards=shards, shard_id=shard, mult_rate=rate
        )
        for shuffle in (True, True, False):
            epoch = iterator.next_epoch_itr(shuffle=shuffle)
            out.append([len(epoch), [[int(item) for item in batch] for batch in epoch], iterator.epoch])
    return plain(out)
