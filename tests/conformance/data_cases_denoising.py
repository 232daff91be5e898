"""Cases: noise for pre-training by denoising, and masked spans.

fairseq 0.12 draws the noise from the global generators, ours from one for each item: the seed of that is set here."""

import numpy as np
import torch
from data_case_tools import case, dictionary, plain

OPTIONS = {
    "mask": 0.0, "mask_random": 0.0, "insert": 0.0, "rotate": 0.0, "permute_sentences": 0.0, "bpe": None,
    "replace_length": 1, "mask_length": "subword", "poisson_lambda": 3.0,
}  # fmt: skip


def sequences(seed=0, low=0, high=40, count=9, eos=2):
    """`<s> ... </s>`, with `</s>` inside, some of them in succession, as ends of sentences."""
    rng = np.random.RandomState(seed)
    found = []
    for number in range(count):
        inner = rng.randint(4, 50, size=low + number * (high - low) // (count - 1))
        inner[rng.rand(len(inner)) < 0.2] = 2
        found.append(torch.from_numpy(np.concatenate([[0], inner, [eos]]).astype(np.int64)))
    return found


def denoising(data, whole_words=None, eos=None, shuffle=False, vocab=None, **options):
    from fairseq.data import DenoisingDataset, ListDataset

    vocab = vocab or dictionary()
    sizes = np.array([len(item) for item in data])
    mask = vocab.add_symbol("<mask>")
    return DenoisingDataset(
        ListDataset([item.clone() for item in data], sizes), sizes, vocab, mask, whole_words, shuffle, 3, eos=eos,
        **{**OPTIONS, **options},
    )  # fmt: skip


def read(dataset, epoch=2):
    """Items, each from the generator that ours would use."""
    dataset.set_epoch(epoch)
    found = []
    for index in range(len(dataset)):
        torch.manual_seed(int(hash((3, epoch, index)) % 1e6))
        found.append(dataset[index])
    return found


def words():
    """Every third id begins no word."""
    return torch.tensor([int(index < 4 or index % 3 > 0) for index in range(51)])


@case
def denoised_subwords():
    found = []
    for options in (
        {"mask": 0.3}, {"mask": 0.6, "mask_random": 0.4, "replace_length": 0}, {"insert": 0.3, "mask_random": 0.3},
        {"rotate": 0.5}, {"permute_sentences": 1.0}, {"permute_sentences": 0.6},
        {"mask": 0.2, "mask_random": 0.1, "insert": 0.1, "rotate": 0.7, "permute_sentences": 0.5},
    ):  # fmt: skip
        found.append(read(denoising(sequences(), words(), **options)))
    return plain(found)


@case
def denoised_words():
    found = []
    for length in ("word", "span-poisson"):
        for replace_length in (-1, 0, 1):
            options = {"mask": 0.4, "mask_random": 0.3, "mask_length": length, "replace_length": replace_length}
            found.append(read(denoising(sequences(), words(), **options)))
            found.append(read(denoising(sequences(1), None, **options)))
    for mean in (0.1, 1.0, 6.0):
        options = {"mask": 0.9, "mask_length": "span-poisson", "poisson_lambda": mean, "permute_sentences": 1.0}
        found.append(read(denoising(sequences(2), words(), rotate=0.5, **options)))
    return plain(found)


@case
def denoised_batches():
    dataset = denoising(sequences(), words(), mask=0.3, mask_length="word", insert=0.4)
    items = read(dataset)
    batch = dataset.collater([items[index] for index in (1, 7, 4, 0)])
    batch.pop("nsentences")  # fairseq 0.12 says how long the first source is
    batch.pop("sort_order", None)
    other_end = denoising(sequences(eos=45), eos=45, mask=0.3, permute_sentences=1.0)
    other_items = read(other_end)
    other = other_end.collater([other_items[2], other_items[5]])["net_input"]
    transformed = denoising(sequences(), mask=0.3)
    transformed.item_transform_func = lambda source, target: (torch.cat([source, source[-1:]]), target + 1)
    np.random.seed(5)
    orders = [denoising(sequences(count=5, low=9, high=13), shuffle=shuffle).ordered_indices() for shuffle in (0, 1)]
    dots = dictionary()
    dots.add_symbol("13")
    sizes = [dataset.size(3), dataset.num_tokens(4), len(dataset)]
    stops = [denoising([], vocab=dots, bpe=bpe).full_stop_index for bpe in ("gpt2", "bert", None)]
    return plain([batch, other, read(transformed), orders, sizes, stops, dataset.can_reuse_epoch_itr_across_epochs])


@case
def noise_by_hand():
    found = []
    for length, options in (("subword", {}), ("word", {"replace_length": -1}), ("span-poisson", {})):
        dataset = denoising(sequences(), words(), mask_length=length, mask_random=0.3, **options)
        for item in sequences(4)[3:]:
            torch.manual_seed(len(item))
            np.random.seed(len(item))
            for method, arguments in (
                ("permute_sentences", ()), ("permute_sentences", (0.4,)), ("add_whole_word_mask", (0.35,)),
                ("add_insertion_noise", (0.2,)), ("add_insertion_noise", (0.0,)), ("add_permuted_noise", (0.3,)),
                ("add_rolling_noise", ()),
            ):  # fmt: skip
                found.append(getattr(dataset, method)(item.clone(), *arguments))
        found.append(dataset.word_starts(sequences()[5]))
    probs = [denoising([], mask_length="span-poisson", poisson_lambda=each).mask_span_distribution.probs.tolist()
             for each in (0.2, 3.0, 3.5)]  # fmt: skip
    return [plain(found), probs]


@case
def masked_spans():
    from fairseq.data import ListDataset
    from fairseq.data.span_mask_tokens_dataset import SpanMaskedTokensDataset

    found = []
    data = sequences(low=2, high=60, count=12)
    for density, mean in ((0.15, 3), (0.5, 3), (0.3, 1.5)):
        stored = ListDataset([item.clone() for item in data], np.array([len(item) for item in data]))
        dataset = SpanMaskedTokensDataset(stored, dictionary(), density, mean, True, 3)
        dataset.set_epoch(2)
        items = [dataset[index] for index in range(len(data))]
        batch = dataset.collater([items[index] for index in (1, 7, 4, 0)])
        for name in ("nsentences", "target_lengths", "sort_order"):  # fairseq 0.12 says wrong things here
            batch.pop(name, None)
        np.random.seed(6)
        found.append([items, batch, dataset.ordered_indices(), dataset.size(3), dataset.num_tokens(4)])
        mask = np.array([[0, 1, 1, 0, 0, 1, 0, 1, 1]], dtype=np.int8)
        ids = np.arange(5, 14)[None]
        found.append(dataset.create_sentinel_ids(mask))
        found.append(dataset.filter_input_ids(ids, dataset.create_sentinel_ids(mask)))
    return plain(found)
