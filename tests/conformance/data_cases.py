"""What `fairseq.data` does, as JSON: under fairseq 0.12 the fixtures, under this package what to compare with them.

Only names that both have are used. `CASES` maps a name to a function without arguments.
"""

import itertools
import tempfile

import numpy as np
import torch

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def plain(value):
    """Tensors, arrays and tuples as lists, so that JSON can hold them."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def items(seed=0, count=12, low=1, high=9, vocab=50):
    """`count` random token sequences that end in eos (2)."""
    rng = np.random.RandomState(seed)
    return [
        torch.from_numpy(np.append(rng.randint(4, vocab, size=rng.randint(low, high)), 2).astype(np.int64))
        for _ in range(count)
    ]


def dictionary(size=50, count=lambda i: 100 - i):
    from fairseq.data import Dictionary

    d = Dictionary()
    for i in range(size - len(d)):
        d.add_symbol(f"w{i}", n=count(i))
    return d


def stored(sequences):
    """The sequences as an mmap dataset."""
    from fairseq.data.indexed_dataset import make_builder, make_dataset

    prefix = tempfile.mkdtemp() + "/data"
    builder = make_builder(prefix + ".bin", "mmap", vocab_size=1000)
    for sequence in sequences:
        builder.add_item(sequence)
    builder.finalize(prefix + ".idx")
    return make_dataset(prefix, "mmap")


def described(dataset, collate=True):
    out = {"items": [dataset[i] for i in range(len(dataset))], "sizes": getattr(dataset, "sizes", None)}
    if collate:
        out["batch"] = dataset.collater([dataset[i] for i in range(0, len(dataset), 2)])
    return plain(out)


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


@case
def token_wrappers():
    from fairseq.data import (
        AppendTokenDataset,
        ConcatSentencesDataset,
        ListDataset,
        OffsetTokensDataset,
        PrependTokenDataset,
        ReplaceDataset,
        RollDataset,
        StripTokenDataset,
        TruncateDataset,
    )

    data = stored(items())
    other = stored(items(1))
    holes = [torch.tensor(v) for v in ([2, 5, 2, 6, 2, 2], [2, 2], [5], [6, 2, 2, 7])]
    return [
        described(dataset, collate=False)
        for dataset in (
            PrependTokenDataset(data, 0),
            PrependTokenDataset(data, None),
            AppendTokenDataset(data, 9),
            StripTokenDataset(data, 2),
            StripTokenDataset(ListDataset(holes, [6, 2, 1, 4]), 2),
            OffsetTokensDataset(data, -4),
            RollDataset(data, 1),
            TruncateDataset(data, 4),
            ConcatSentencesDataset(PrependTokenDataset(data, 0), PrependTokenDataset(other, 2)),
            ReplaceDataset(ListDataset(items(), [1] * 12), {5: 1, 6: 3, 20: 21}, [1]),
            ReplaceDataset(ListDataset(items(), [1] * 12), {5: 1, 2: 3}, [-1]),
        )
    ]


@case
def random_crops():
    from fairseq.data import RandomCropDataset
    from fairseq.data.shorten_dataset import maybe_shorten_dataset

    data = stored(items(low=3, high=20))
    crop = RandomCropDataset(data, 5, seed=7)
    out = []
    for epoch in (1, 2):
        crop.set_epoch(epoch)
        out.append(described(crop, collate=False))
    for splits, method in (("", "truncate"), ("valid", "truncate"), ("train,valid", "random_crop"), ("", "none")):
        out.append(described(maybe_shorten_dataset(data, "train", splits, method, 4, 3), collate=False))
    return out


@case
def collating_wrappers():
    from fairseq.data import (
        IdDataset,
        LeftPadDataset,
        ListDataset,
        NumelDataset,
        NumSamplesDataset,
        PadDataset,
        RawLabelDataset,
        RightPadDataset,
    )

    data = stored(items())
    return plain(
        [
            described(dataset)
            for dataset in (
                LeftPadDataset(data, 1),
                RightPadDataset(data, 1),
                PadDataset(data, 1, left_pad=True, pad_length=11),
                NumelDataset(data),
                NumelDataset(data, reduce=True),
                ListDataset(items(), [1] * 12),
            )
        ]
        + [RawLabelDataset([0.5, 1.5, 2.0]).collater([0.5, 2.0]), len(IdDataset()), len(NumSamplesDataset())]
        + [IdDataset().collater([IdDataset()[3], IdDataset()[1]]), NumSamplesDataset().collater([1, 1, 1])]
    )


@case
def subsampled():
    from fairseq.data import SubsampleDataset

    out = []
    for ratio, seed in ((0.5, 1), (0.26, 3)):
        dataset = SubsampleDataset(stored(items()), ratio, shuffle=False, seed=seed)
        out.append([described(dataset, collate=False), plain(dataset.ordered_indices())])
    return out


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


@case
def concatenated():
    from fairseq.data import ConcatDataset

    a, b = stored(items(0, 5)), stored(items(1, 4))
    out = []
    for ratios in (1, [1, 2]):
        dataset = ConcatDataset([a, b], ratios)
        out.append([described(dataset, collate=False), dataset.cumulative_sizes])
    return plain(out)


class Numbers(torch.utils.data.Dataset):
    """Items that are their index; batches that are lists."""

    can_reuse_epoch_itr_across_epochs = True
    supports_prefetch = False

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return int(index)

    def set_epoch(self, epoch):
        self.epoch = epoch


def epoch_iterator(num_batches=13, **options):
    from fairseq.data import EpochBatchIterator

    batches = [list(range(3 * i, 3 * i + 3)) for i in range(num_batches)]
    return EpochBatchIterator(dataset=Numbers(), collate_fn=list, batch_sampler=batches, **options)


@case
def epoch_order():
    out = []
    for seed, shards, shard in itertools.product([1, 5], [1, 2, 3], [0, 1, 2]):
        if shard >= shards:
            continue
        for skip, grouped in ((False, False), (True, False), (False, True)):
            # fairseq drops the batches that fill no group: whole groups only
            options = dict(skip_remainder_batch=skip, grouped_shuffling=grouped)
            iterator = epoch_iterator(12 if grouped else 13, seed=seed, num_shards=shards, shard_id=shard, **options)
            epochs = []
            for shuffle, fixed in ((True, False), (True, True), (False, False), (True, False)):
                epoch = iterator.next_epoch_itr(shuffle=shuffle, fix_batches_to_gpus=fixed)
                epochs.append(
                    [len(epoch), list(epoch), iterator.epoch, iterator.next_epoch_idx, iterator.end_of_epoch()]
                )
            out.append(epochs)
    iterator = epoch_iterator(disable_shuffling=True)
    out.append([len(iterator), list(iterator.next_epoch_itr()), iterator.first_batch])
    return plain(out)


@case
def epoch_resume():
    out = []
    for stop, skip in itertools.product([0, 1, 6, 12, 13], [False, True]):
        first = epoch_iterator(seed=3, num_shards=1, skip_remainder_batch=skip)
        list(first.next_epoch_itr())
        epoch = first.next_epoch_itr()
        for _ in range(min(stop, len(epoch))):
            next(epoch)
        state = first.state_dict()
        second = epoch_iterator(seed=3, num_shards=1, skip_remainder_batch=skip)
        second.load_state_dict(dict(state))
        where = [second.epoch, second.iterations_in_epoch, second.next_epoch_idx]
        rest = second.next_epoch_itr()
        out.append([state, where, rest.n, len(rest), list(rest), second.epoch, second.iterations_in_epoch])
    return plain(out)


@case
def iterator_wrappers():
    from fairseq.data.iterators import CountingIterator, GroupedIterator, ShardedIterator

    out = []
    counting = CountingIterator(range(10))
    out.append([next(counting), next(counting), counting.n, len(counting), counting.has_next()])
    counting.skip(3)
    out.append([next(counting), counting.n])
    counting.take(8)
    out.append([list(counting), counting.n, len(counting), counting.has_next()])
    for size, skip in itertools.product([1, 2, 3, 4, 20], [False, True]):
        grouped = GroupedIterator(CountingIterator(range(10)), size, skip_remainder_batch=skip)
        out.append([len(grouped), list(grouped), grouped.n, grouped.has_next()])
        started = CountingIterator(range(10))
        next(started)
        next(started)
        next(started)
        grouped = GroupedIterator(started, size)
        out.append([len(grouped), grouped.n, list(grouped), grouped.n])
    for shards, shard in ((1, 0), (2, 0), (2, 1), (3, 0), (3, 2), (7, 6)):
        sharded = ShardedIterator(list(range(10)), shards, shard, fill_value=-1)
        out.append([len(sharded), list(sharded), sharded.n])
    return plain(out)
