"""torch's nn.TransformerEncoder, end to end: its fast path, which knows no quantizers, stays closed."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.quantization import quantize_model, remove_quantization


def encoder(**changes: Any) -> nn.TransformerEncoder:
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, **changes)
    return nn.TransformerEncoder(layer, 2)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    return {"src": torch.randn(3, 5, 8), "src_key_padding_mask": padding}


def test_plan_training_files_and_evaluation(batch: dict[str, Tensor]) -> None:
    rules = [{"match": "*.norm?.output", "bits": 8}, {"match": "*.add*", "bits": 8}]
    model = quantize_model(encoder(), "int8", example_inputs=batch, rules=rules)
    active = [row.quantizer for row in model.quantization.plan.active]
    for word in ("self_attn.in_proj", "self_attn.out_proj.weight", "self_attn.probs", "linear1.input", "norm1.output"):
        assert sum(word.replace("in_proj", "q_proj.weight") in path for path in active) == 2
    assert sum("add.left" in path for path in active) == 2  # residuals
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for _ in range(6):
        loss = (model(**batch) - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.quantization.end_update(model)
    y = model.eval()(**batch)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = quantize_model(encoder(), "int8", example_inputs=batch, rules=rules).eval()
    again.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(again(**batch), y)


@pytest.mark.parametrize("changes", [{}, {"norm_first": True, "activation": "gelu"}, {"bias": False}])
def test_the_fast_path_is_closed_until_quantization_is_removed(
    changes: dict[str, Any], batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast: list[int] = []
    kernel = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *args: fast.append(1) or kernel(*args))
    model = encoder(**changes).eval()
    with torch.no_grad():
        model(**batch)
        takes = len(fast)
        quantized = quantize_model(copy.deepcopy(model), "int8", example_inputs=batch)
        quantized.quantization.calibrate(quantized, [batch])
        quantized.eval()
        fast.clear()
        y = quantized(**batch)
        assert not fast and not torch.equal(quantized(**batch, num_bits=2), y)
    torch.testing.assert_close(quantized(**batch), y)  # with gradients
    with torch.no_grad():
        quantized = remove_quantization(quantize_model(quantized, "int4"))
        torch.testing.assert_close(quantized(**batch), model(**batch))
        assert len(fast) == 2 * takes
