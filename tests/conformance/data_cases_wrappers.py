"""Cases: datasets that change the items, the batches or the length of another."""

import torch
from data_case_tools import case, described, items, plain, stored


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


@case
def concatenated():
    from fairseq.data import ConcatDataset

    a, b = stored(items(0, 5)), stored(items(1, 4))
    out = []
    for ratios in (1, [1, 2]):
        dataset = ConcatDataset([a, b], ratios)
        out.append([described(dataset, collate=False), dataset.cumulative_sizes])
    return plain(out)
