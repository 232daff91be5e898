"""Cases: data sets that make noise, draw, mix or translate, and files of sequences."""

import io
import os
import tempfile
from collections import OrderedDict

import numpy as np
import torch
from name_case_tools import Pairs, case, dictionary, items, plain, raised

from fairseq.data import FairseqDataset


def words():
    from fairseq.data import Dictionary

    d = Dictionary()
    for word in ["he@@", "llo", "n@@", "ew", "y@@", "or@@", "k", "wor@@", "ld", "a", "b", "c"]:
        d.add_symbol(word)
    return d


def sentence(text, d, eos=True):
    """(T, 1) and lengths (1,)."""
    ids = [d.index(word) for word in text.split()] + ([d.eos()] if eos else [])
    return torch.tensor(ids).unsqueeze(1), torch.tensor([len(ids)])


SENTENCES = ("he@@ llo n@@ ew y@@ or@@ k a b c", "a b c", "wor@@ ld", "a n@@ ew wor@@ ld b")


def noised(make, *settings, **named):
    d = words()
    noiser = make(d)
    out = []
    for seed, text in enumerate(SENTENCES * 3):
        for eos in (True, False):
            np.random.seed(seed)
            out.append(noiser.noising(*sentence(text, d, eos), *settings, **named))
    return plain(out)


@case
def noise_drops_words():
    from fairseq.data.noising import WordDropout

    return noised(WordDropout, 0.4)


@case
def noise_drops_nearly_all_words():
    from fairseq.data.noising import WordDropout

    return noised(WordDropout, 0.95)


@case
def noise_blanks_words():
    from fairseq.data.noising import WordDropout

    return noised(WordDropout, 0.4, 3)


@case
def noise_moves_words():
    from fairseq.data.noising import WordShuffle

    return [noised(WordShuffle, 3), noised(WordShuffle), noised(WordShuffle, 0)]


@case
def noise_of_unsupervised_translation():
    from fairseq.data.noising import UnsupervisedMTNoising

    return noised(lambda d: UnsupervisedMTNoising(d, 3, 0.3, 0.3))


@case
def noise_knows_words():
    from fairseq.data.noising import WordNoising

    d = words()
    tokens = [sentence(text, d)[0] for text in SENTENCES]
    markers = ({}, {"bpe_cont_marker": None}, {"bpe_cont_marker": None, "bpe_end_marker": "d"})
    return plain([[WordNoising(d, **each).get_word_idx(x) for x in tokens] for each in markers])


@case
def noise_on_a_dataset():
    from fairseq.data import ListDataset, NoisingDataset

    d = words()
    sentences = [sentence(text, d)[0].squeeze(1) for text in SENTENCES]
    base = ListDataset(sentences, [len(s) for s in sentences])
    settings = {"max_word_shuffle_distance": 3, "word_dropout_prob": 0.3, "word_blanking_prob": 0.2}
    data = NoisingDataset(base, d, seed=3, **settings)
    return plain([[data[i] for i in range(4)], [data[i] for i in range(4)], len(data), data.supports_prefetch])


# ---- drawing and mixing


class Numbers(FairseqDataset):
    """Items that are numbers, batches that are lists."""

    def __init__(self, count, base, prefetch=True):
        self.count, self.base, self.prefetches = count, base, prefetch
        self.sizes = np.array([(i * 7) % 5 + 1 for i in range(count)])
        self.prefetched = []

    def __getitem__(self, index):
        return self.base + int(index)

    def __len__(self):
        return self.count

    def collater(self, samples):
        return list(samples)

    def size(self, index):
        return int(self.sizes[index])

    num_tokens = size

    @property
    def supports_prefetch(self):
        return self.prefetches

    def ordered_indices(self):
        return np.argsort(self.sizes, kind="mergesort")

    def filter_indices_by_size(self, indices, limit):
        kept = [int(i) for i in indices if self.sizes[i] <= limit]
        return np.array(kept), [int(i) for i in indices if self.sizes[i] > limit]

    def prefetch(self, indices):
        self.prefetched.append([int(i) for i in indices])

    def set_epoch(self, epoch):
        self.epoch = epoch


def resampled(**options):
    from fairseq.data import ResamplingDataset

    base = Numbers(6, 10)
    data = ResamplingDataset(base, **options)
    out = []
    for epoch in (1, 2, 1):
        data.set_epoch(epoch)
        count = len(data)
        out.append([[data[i] for i in range(count)], data.sizes, data.ordered_indices(), data.num_tokens(0)])
    data.prefetch([0, 1])
    return plain([*out, data.can_reuse_epoch_itr_across_epochs, base.prefetched, data.size(2)])


@case
def resampling_with_weights():
    return resampled(weights=[1, 0, 2, 0, 1, 4], size_ratio=1.7, seed=4)


@case
def resampling_with_replacement():
    return resampled(seed=9)


@case
def resampling_without_replacement():
    return resampled(replace=False, size_ratio=0.5, batch_by_size=False)


@case
def resampling_refuses():
    from fairseq.data import ResamplingDataset

    return [
        raised(lambda: ResamplingDataset(Numbers(6, 0), replace=False, size_ratio=1.0)),
        raised(lambda: ResamplingDataset(Numbers(6, 0), weights=[1, 2])),
    ]


def both():
    return OrderedDict([("a", Numbers(6, 0)), ("b", Numbers(4, 100))])


@case
def zipped_round_robin():
    from fairseq.data import RoundRobinZipDatasets

    data = RoundRobinZipDatasets(both())
    order = data.ordered_indices()
    rows = [data[i] for i in range(6)]
    data.prefetch([0, 5])
    return plain(
        [
            len(data),
            order,
            rows,
            data.collater(rows[:3]),
            data.collater([]),
            [data.num_tokens(i) for i in range(6)],
            [data.size(i) for i in range(6)],
            data.supports_prefetch,
            [each.prefetched for each in data.datasets.values()],
            RoundRobinZipDatasets(OrderedDict([("a", Numbers(2, 0, False))])).supports_prefetch,
        ]
    )


@case
def zipped_round_robin_for_evaluation():
    from fairseq.data import RoundRobinZipDatasets

    data = RoundRobinZipDatasets(both(), eval_key="b")
    data.ordered_indices()
    return plain([len(data), [data[i] for i in range(6)], data.collater([data[1], data[2]])])


@case
def corpora_sampled():
    from fairseq.data import MultiCorpusSampledDataset

    data = MultiCorpusSampledDataset(both())
    order = data.ordered_indices()
    rows = [data[i] for i in range(6)]
    np.random.seed(2)
    batches = [data.collater(rows[i : i + 2]) for i in (0, 2, 4, 0, 2, 4)]
    chosen = MultiCorpusSampledDataset(both(), sampling_func=lambda keys: list(keys)[-1])
    chosen.ordered_indices()
    return plain(
        [
            len(data),
            order,
            rows,
            batches,
            data.collater([]),
            [data.num_tokens(i) for i in range(6)],
            [data.size(i) for i in range(6)],
            data.supports_prefetch,
            chosen.collater([chosen[0], chosen[1]]),
            raised(lambda: MultiCorpusSampledDataset([Numbers(2, 0)])),
        ]
    )


# ---- pairs


def pairs(**options):
    from fairseq.data import LanguagePairDataset

    d = dictionary()
    source, target = Pairs(items(1, 5)), Pairs(items(2, 5))
    sizes = [np.array(each.sizes) for each in (source, target)]
    return LanguagePairDataset(source, sizes[0], d, target, sizes[1], d, shuffle=False, **options)


@case
def ends_of_pairs_replaced():
    from fairseq.data import TransformEosLangPairDataset

    out = []
    for left in (True, False):
        base = pairs(left_pad_source=left)
        data = TransformEosLangPairDataset(base, src_eos=2, new_src_eos=40, tgt_bos=2, new_tgt_bos=41)
        out.append([data.collater([data[i] for i in range(4)]), data.size(1), data.num_tokens(2), len(data)])
        out.append([data.ordered_indices(), data.sizes, data.supports_prefetch, data[1]])
    source_only = TransformEosLangPairDataset(pairs(), src_eos=2, new_src_eos=40)
    return plain([*out, source_only.collater([source_only[0], source_only[1]]), source_only.collater([])])


@case
def pairs_translated_back():
    from fairseq.data import BacktranslationDataset, LanguagePairDataset

    d = dictionary()
    sentences = Pairs(items(3, 5))
    base = LanguagePairDataset(sentences, np.array(sentences.sizes), d, shuffle=False)
    seen = []

    def translate(batch):
        seen.append(sorted(batch))
        rows = batch["net_input"]["src_tokens"]
        return [[{"tokens": row[row != d.pad()].flip(0)}, {"tokens": row}] for row in rows]

    data = BacktranslationDataset(base, src_dict=d, tgt_dict=d, backtranslation_fn=translate, cuda=False)
    batch = data.collater([data[i] for i in range(3)])
    collated = BacktranslationDataset(base, d, output_collater=lambda rows: rows, cuda=False)
    collated.set_backtranslation_fn(translate)
    return plain(
        [
            batch,
            seen,
            collated.collater([data[1], data[2]]),
            len(data),
            data.num_tokens(1),
            data.size(1),
            data.ordered_indices(),
            data.supports_prefetch,
        ]
    )


@case
def padding_masks():
    from fairseq.data import LeftPaddingMaskDataset, ListDataset, PaddingMaskDataset, RightPaddingMaskDataset

    base = ListDataset(items(1, 4), [len(s) for s in items(1, 4)])
    kinds = (LeftPaddingMaskDataset(base), RightPaddingMaskDataset(base))
    wide = PaddingMaskDataset(base, left_pad=True, pad_length=12)
    return plain([[data[0], data.collater([data[i] for i in range(4)]), data.sizes] for data in (*kinds, wide)])


@case
def colors_of_items():
    from fairseq.data import ColorizeDataset

    data = ColorizeDataset(pairs(), lambda dataset, index: index * 10)
    batch = data.collater([data[i] for i in range(3)])
    return plain([batch["net_input"]["colors"], batch["id"], sorted(batch["net_input"])])


# ---- files


@case
def index_helpers():
    from fairseq.data import indexed_dataset

    stream = io.BytesIO()
    indexed_dataset.write_longs(stream, [1, -2, 2**40])
    contents = stream.getvalue().hex()
    stream.seek(0)
    codes = {str(code): np.dtype(kind).name for code, kind in indexed_dataset._code_to_dtype.items()}
    kinds = (np.uint8, np.uint16, np.int32, np.int64, np.float64)
    return plain(
        [
            contents,
            indexed_dataset.read_longs(stream, 3),
            codes,
            [indexed_dataset._dtype_header_code(kind) for kind in kinds],
            indexed_dataset.get_indexed_dataset_to_local("/tmp/none"),
        ]
    )


@case
def lines_between_offsets():
    from fairseq.file_chunker_utils import Chunker, ChunkLineIterator, find_offsets

    path = os.path.join(tempfile.mkdtemp(), "t")
    with open(path, "w", encoding="utf-8") as file:
        file.write("one\ntwö\n\nthree words here\nlast")
    offsets = find_offsets(path, 3)
    out = [offsets]
    for start, end in zip(offsets, offsets[1:]):  # noqa: B905, RUF007 - fairseq 0.12 runs on older Pythons
        with Chunker(path, start, end) as lines:
            out.append(list(lines))
    with open(path, encoding="utf-8") as file:
        out.append(list(ChunkLineIterator(file, 4, 9)))
        out.append(list(ChunkLineIterator(file, 0, -1)))
    return out


@case
def binarized_the_old_way():
    from fairseq.binarizer import LegacyBinarizer, _worker_prefix

    path = os.path.join(tempfile.mkdtemp(), "t")
    with open(path, "w") as file:
        file.write("w1 w2 unknown\nw3\n")
    out = []
    for options in ({}, {"append_eos": False, "reverse_order": True}):
        found = []
        counts = LegacyBinarizer.binarize(path, dictionary(), found.append, **options)
        out.append([found, {key: counts[key] for key in ("nseq", "nunk", "ntok")}, dict(counts["replaced"])])
    return plain([*out, _worker_prefix("x/train", 3)])


@case
def filtered_and_collected():
    from fairseq.data.data_utils import collect_filtered

    rest = []
    return [list(collect_filtered(lambda n: n % 3 == 0, range(7), rest)), rest]
