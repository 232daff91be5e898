"""A small classifier, with quantizers that have seen some batches."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fairseq import models
from fairseq.quantization import quantize_model

SIZE = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
}


class Vocabulary:
    def __len__(self) -> int:
        return 34

    def pad(self) -> int:
        return 1


@pytest.fixture
def classifier() -> Callable[..., Any]:
    """classifier("int8", rules=[...], encoder_layers=1): in evaluation, with the heads `head` and `other`."""

    def build(preset: str = "none", rules: Any = (), eval_bits: Any = None, **size: Any) -> Any:
        torch.manual_seed(1)
        task = Namespace(source_dictionary=Vocabulary(), max_positions=lambda: 20)
        model = models.build_model(Namespace(arch="roberta", **{**SIZE, **size}), task)
        for name, classes in (("head", 3), ("other", 1)):
            model.register_classification_head(name, num_classes=classes)
        model = quantize_model(model, preset, rules=list(rules), **({"eval_bits": eval_bits} if eval_bits else {}))
        if preset != "none":
            for name in ("head", "other", "head"):
                tokens = torch.randint(4, 34, (6, 12))
                tokens[0, 8:] = 1
                model.train()(tokens, classification_head_name=name)
        return model.eval()

    return build
