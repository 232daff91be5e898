"""Cases: several data sets in one, and two passes of a batch in one."""

import functools
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import torch
from name_case_tools import case, plain, task_of


@functools.cache
def kind():
    """Data sets of dicts, whose items have 1 to 5 tokens."""
    from fairseq.data import FairseqDataset

    class Numbers(FairseqDataset):
        def __init__(self, count, base):
            self.sizes, self.base = np.arange(count) % 5 + 1, base

        def __len__(self):
            return len(self.sizes)

        def __getitem__(self, index):
            return {"value": self.base + index}

        def collater(self, samples):
            return {"base": self.base, "values": [sample["value"] for sample in samples]}

        def size(self, index):
            return int(self.sizes[index])

        num_tokens = size

    return Numbers


def numbers(count, base):
    return kind()(count, base)


@case
def corpora_in_shares():
    from fairseq.data.multi_corpus_dataset import MultiCorpusDataset

    datasets = OrderedDict(a=numbers(7, 0), b=numbers(4, 100), c=numbers(3, 200))
    found = []
    for shares in ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6]):
        for settings in (
            {},
            {"sort_indices": True},
            {"batch_sample": True},
            {"batch_sample": True, "distributed_rank": 1},
        ):
            mixed = MultiCorpusDataset(datasets, shares, seed=3, **settings)
            for epoch in (1, 2):
                mixed.set_epoch(epoch)
                order = mixed.ordered_indices()
                batches = mixed.batch_by_size(order, max_tokens=8, max_sentences=3)
                found.append([len(mixed), order, [list(batch) for batch in batches]])
                found.append([mixed.collater([mixed[int(index)] for index in batch]) for batch in batches[:3]])
            index = int(order[0])
            found.append([mixed._map_index(index), mixed.size(index), mixed.num_tokens(index), mixed.collater([])])
            found.append([mixed.supports_prefetch, mixed.can_reuse_epoch_itr_across_epochs])
    return plain(found)


class Scores(torch.nn.Module):
    """Scores that do not depend on the input."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.nn.Parameter(scores)

    def forward(self, src_tokens, **unused):
        return self.scores[: len(src_tokens)]

    def get_normalized_probs(self, net_output, log_probs):
        return torch.log_softmax(net_output, -1) if log_probs else torch.softmax(net_output, -1)

    def get_targets(self, sample, net_output):
        return sample["target"]


@case
def two_passes_of_a_batch():
    from fairseq.criterions.label_smoothed_cross_entropy_with_rdrop import (
        RdropLabelSmoothedCrossEntropyCriterion,
        compute_kl_loss,
    )
    from fairseq.logging import metrics

    words = 9
    scores = torch.sin(torch.arange(4 * 3 * words) * 0.7).view(4, 3, words)
    model, found = Scores(scores), []
    task = SimpleNamespace(target_dictionary=task_of(words).target_dictionary)
    for alpha, average in ((0.0, False), (2.0, False), (0.5, True)):
        criterion = RdropLabelSmoothedCrossEntropyCriterion(task, average, 0.1, report_accuracy=True, rdrop_alpha=alpha)
        sample = {
            "net_input": {"src_tokens": torch.ones(2, 3).long()},
            "target": torch.tensor([[5, 6, 2], [4, 2, 1]]), "ntokens": 5, "nsentences": 2,
        }  # fmt: skip
        loss, sample_size, logged = criterion(model, sample)
        found.append([loss, sample_size, {key: float(value) for key, value in logged.items()}])
        with metrics.aggregate() as aggregator:
            criterion.reduce_metrics([logged])
        found.append(dict(aggregator.get_smoothed_values()))
    padding = torch.tensor([[0], [0], [1], [0], [1], [1]]).bool()
    found += [compute_kl_loss(model, scores), compute_kl_loss(model, scores, padding)]
    found.append(compute_kl_loss(model, scores, padding, reduce=False))
    return plain(found)


@case
def texts_as_bytes():
    from fairseq.data.text_compressor import TextCompressionLevel, TextCompressor

    found = [[level.name, level.value] for level in TextCompressionLevel]
    for level in (TextCompressionLevel.none, TextCompressionLevel.low):
        compressor = TextCompressor(level)
        for text in ("", "hällo hällo world", "東京 " * 30):
            packed = compressor.compress(text)
            found.append([list(packed), compressor.decompress(packed)])
    return found
