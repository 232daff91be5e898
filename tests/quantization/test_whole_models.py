"""Small models of convolutions, of linear layers and of an LSTM: plan, training, saving, strict loading, evaluation."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fairseq.quantization import PrecisionScheduler, quantize_model


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018): expand, depthwise, project; ReLU6 but after the last."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int = 2):
        super().__init__()
        width = inputs * expand
        self.adds = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
            nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


def mobile_net() -> nn.Module:
    stem = nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU6()
    blocks = InvertedResidual(4, 4, 1), InvertedResidual(4, 8, 2)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0].mean(1))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mobile net": (mobile_net, (12, 1, 12, 12), 8),
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), (12, 6), 2),
    "lstm": (Reader, (12, 5, 4), 5),
}


@pytest.mark.parametrize("preset", ["int8", "mxfp8", "w4"])
@pytest.mark.parametrize("name", MODELS)
def test_trained_saved_and_loaded(name: str, preset: str) -> None:
    make, shape, products = MODELS[name]
    torch.manual_seed(1)
    model = quantize_model(make(), preset)
    weights = [row for row in model.quantization.plan.active if row.role == "weight"]
    assert len(weights) == products and not any(row.kind for row in model.quantization.plan.rows)
    x, labels = torch.randn(shape), torch.arange(12) % 3
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    scheduler = PrecisionScheduler(model, total_updates=15)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    y = model.eval()(x)
    memory = io.BytesIO()
    torch.save(model.state_dict(), memory)
    memory.seek(0)
    other = quantize_model(make(), preset)
    other.load_state_dict(torch.load(memory, weights_only=True), strict=True)
    assert torch.equal(other.eval()(x), y)
    plain = make()
    plain.load_state_dict(model.state_dict(), strict=True)
    assert not torch.equal(plain.eval()(x), y)
