"""A RoBERTa small enough for tests."""

from argparse import Namespace

import torch

from fairseq import models
from fairseq.models.roberta import RobertaModel

SIZE = {"encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 4}


class Vocabulary:
    """All that a model asks of a dictionary."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def pad(self) -> int:
        return 1


def task(vocabulary: int = 34, max_positions: int = 20) -> Namespace:
    return Namespace(source_dictionary=Vocabulary(vocabulary), max_positions=lambda: max_positions)


def build(seed: int = 0, **options) -> RobertaModel:
    torch.manual_seed(seed)
    return models.build_model(Namespace(**{"arch": "roberta", **SIZE, **options}), task())
