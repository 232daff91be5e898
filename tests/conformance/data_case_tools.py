"""Register of what is compared with fairseq 0.12 (`data_cases.py`), and the data that the cases work on."""

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
    if hasattr(value, "_is_interpolation"):  # a node of a config
        from omegaconf import OmegaConf

        return plain(OmegaConf.to_container(value))
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
