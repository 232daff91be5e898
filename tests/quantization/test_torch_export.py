"""`torch.export.export` of RoBERTa with a head: one program for every batch, with the scores of the model."""

import io
from argparse import Namespace
from typing import Any

import pytest
import torch
from torch import nn

from fairseq import models
from fairseq.errors import ConfigError
from fairseq.quantization import quantize_model
from tests.quantization.test_roberta import SIZE, Vocabulary

DYNAMIC = {"src_tokens": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}, "classification_head_name": None}
HEAD = {"classification_head_name": "head"}
RULES = [
    {"match": "*.fc1.*", "bits": 4, "compute": "integer"},
    {"match": "*.fc2.input", "learned": "scale"},
    {"match": "*.fc2.weight", "learned": "clip"},
    {"match": "*embed_tokens.weight", "bits": 8},
]


def tokens(rows: int, columns: int, padded: bool) -> torch.Tensor:
    batch = torch.randint(4, 34, (rows, columns))
    if padded:
        batch[-1, columns // 2 :] = 1
    return batch


def trained(*quantization: Any, **changes: Any) -> nn.Module:
    """A model in evaluation whose quantizers have seen a batch, with nobody having said that the update is over."""
    task = Namespace(source_dictionary=Vocabulary(), max_positions=lambda: 20)
    model = models.build_model(Namespace(arch="roberta", **{**SIZE, "encoder_layers": 1}), task)
    model.register_classification_head("head", num_classes=3)
    if quantization:
        model = quantize_model(model, *quantization, **changes)
        model.train()(tokens(3, 9, True), **HEAD)[0].sum().backward()
    return model.eval()


@pytest.mark.parametrize("preset, rules", [(None, ()), ("int8", RULES), ("cpt_4_8", ())], ids=["float", "int8", "cpt"])
def test_the_program_scores_as_the_model(preset: str, rules: Any) -> None:
    model = trained(preset, rules=rules) if preset else trained()
    program = torch.export.export(model, (tokens(3, 9, True),), HEAD, dynamic_shapes=DYNAMIC)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for batch in (tokens(3, 9, True), tokens(1, 5, False), tokens(6, 20, True)):
        with torch.no_grad():
            expected = model(batch, **HEAD)[0]
        torch.testing.assert_close(loaded(batch, **HEAD)[0], expected, rtol=0, atol=1e-6)
    # the tracer has left nothing behind
    model.train()(tokens(2, 4, True), **HEAD)[0].sum().backward()


def test_stochastic_activations_are_refused() -> None:
    model = trained("int8", rules=[{"match": "*.fc2.input", "rounding": "stochastic"}])
    with pytest.raises(ConfigError, match=r"layers\.0\.fc2\.input.*rounding: nearest"):
        torch.export.export(model, (tokens(3, 9, True),), HEAD, dynamic_shapes=DYNAMIC)
