"""Register of what users' own code relies on (`name_cases.py`), and what the cases work on."""

import contextlib
import io
from types import SimpleNamespace

import torch
from data_case_tools import dictionary, items, plain

__all__ = ["CASES", "Pairs", "case", "dictionary", "items", "plain", "raised", "seeded", "task_of", "tiny_transformer"]

CASES = {}


def case(function):
    assert function.__name__ not in CASES, function.__name__
    CASES[function.__name__] = function
    return function


def raised(call):
    """The name of the exception that `call()` raises, None if it raises none."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            call()
    except (Exception, SystemExit) as error:
        return type(error).__name__
    return None


def seeded(module, scale=0.1):
    """`module` with weights that depend on nothing but their number and size."""
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            values = torch.arange(weight.numel(), dtype=torch.float64)
            weight.copy_((torch.sin(values * 0.7 + number) * scale).view_as(weight))
    return module


def task_of(words=20):
    """What a model asks of a task: two dictionaries."""
    words = dictionary(words)
    return SimpleNamespace(source_dictionary=words, target_dictionary=words)


def tiny_transformer(**settings):
    """Flat arguments of a transformer of one layer a side, as a namespace."""
    from argparse import Namespace

    sides = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in {"embed_dim": 8, "ffn_embed_dim": 16, "layers": 1, "attention_heads": 2}.items()
    }
    return Namespace(**{**sides, "dropout": 0.0, "max_source_positions": 32, "max_target_positions": 32, **settings})


class Pairs:
    """Sequences for LanguagePairDataset: a list of tensors."""

    def __init__(self, sequences):
        self.sequences = sequences
        self.sizes = [len(s) for s in sequences]

    def __getitem__(self, index):
        return self.sequences[index]

    def __len__(self):
        return len(self.sequences)
