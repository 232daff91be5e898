"""Codes of weights that are no matrices: convolutions, transposed ones, Conv1D of transformers."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

from fairseq.checkpoint.packed import pack_state, read_packed, unpack_state
from fairseq.errors import CheckpointError
from fairseq.quantization import quantize_model
from fairseq.quantization.integer_weights import keep_integer_weights, pack_weights, restore_float_weights
from fairseq.quantization.layers.transposed_linear import QConv1D

LAYERS = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 5)),
    "Conv2d in groups": (lambda: nn.Conv2d(4, 8, 3, groups=2, padding=1, padding_mode="circular"), (2, 4, 5, 6)),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2), (1, 2, 3, 2, 3)),
    "ConvTranspose2d in groups": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), (2, 4, 3, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3), (2, 4, 3)),
    "Conv1D of transformers": (lambda: QConv1D(5, 6), (2, 3, 6)),
}
PRESETS = ("w8", "w4", "mxfp4", "ternary", "int8")


def model_of(kind: str, preset: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(1)
    make, shape = LAYERS[kind]
    model, x = quantize_model(nn.Sequential(make()), preset), torch.randn(shape)
    model.quantization.calibrate(model, [x])
    return model.eval(), x


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", LAYERS)
def test_evaluates_and_comes_back_bit_for_bit(kind: str, preset: str) -> None:
    model, x = model_of(kind, preset)
    y = model(x)
    packed, shared = pack_weights(model)
    assert list(packed) == ["0.weight"] and not shared
    memory = io.BytesIO()
    torch.save(pack_state({"model": model.state_dict()}, packed), memory)
    memory.seek(0)
    state = torch.load(memory, weights_only=True)
    unpack_state(state, "file")
    other, _ = model_of(kind, preset)
    other.load_state_dict(state["model"], strict=True)
    other.quantization.load_state_dict(other, model.quantization.state_dict(model))
    keep_integer_weights(other, state["packed_weights"])
    assert torch.equal(other(x), y) and other[0].weight.is_meta
    assert torch.equal(copy.deepcopy(other)(x), y)
    assert torch.equal(other.state_dict()["0.weight"], state["model"]["0.weight"])
    assert other.state_dict()["0.weight"].is_contiguous()
    restored = restore_float_weights(other)
    assert torch.equal(restored[0].weight, state["model"]["0.weight"])


def test_another_layer_of_the_same_matrix_is_refused() -> None:
    model, _ = model_of("Conv1d", "w8")
    packed, _ = pack_weights(model)
    torch.manual_seed(1)
    other = quantize_model(nn.Sequential(nn.Conv2d(4, 6, (1, 3))), "w8")
    with pytest.raises(CheckpointError, match=r"weight 0\.weight is not of the layer that was packed"):
        keep_integer_weights(other, packed)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [6, 4, 4]}, {"shape": "643"}, {"shape": [6, 4, -3]}, {"shape": [6, 4, 3.0]}, {"groups": 0},
        {"groups": 2}, {"groups": 4}, {"by_second": 1}, {"by_second": True}, {"more": 1}, {"shape": [72]},
    ],
)  # fmt: skip
def test_layouts_that_packing_never_writes(changes: dict[str, Any]) -> None:
    packed, _ = pack_weights(model_of("Conv1d", "w8")[0])
    entry = packed["0.weight"].as_dict()
    assert read_packed(entry).layout == packed["0.weight"].layout
    with pytest.raises(ValueError, match="has a layout that its codes do not fit"):
        read_packed({**entry, "layout": {**entry["layout"], **changes}})
