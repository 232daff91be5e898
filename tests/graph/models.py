"""Models that graphs are traced of, by name: a function that makes each, and inputs at three sizes."""

import torch
from torch import nn

from tests.models import small_roberta


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.BatchNorm2d(2 * channels), nn.ReLU6(inplace=True),
            nn.Conv2d(2 * channels, 2 * channels, 3, stride, 1, groups=2 * channels, bias=False),
            nn.BatchNorm2d(2 * channels), nn.ReLU6(inplace=True), nn.Conv2d(2 * channels, channels, 1),
        )  # fmt: skip
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.stride == 1 else self.body(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm, self.head = nn.Embedding(20, 8), nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, (last, _) = self.lstm(self.embed(tokens))
        return self.head(states.mean(1) + last[-1])


class Odds(nn.Module):
    """What recorders get wrong: in-place changes, an argument returned as it is, sizes computed, parts of a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.drop, self.fc = nn.Parameter(torch.randn(4)), nn.Dropout(0.5), nn.Linear(4, 4)
        self.register_buffer("shift", torch.randn(4))
        self.never = nn.Linear(2, 2)
        self.table = torch.randn(3, 4)  # neither a parameter nor a buffer

    def forward(self, x: torch.Tensor, mask: torch.Tensor = None) -> dict[str, torch.Tensor]:
        residual, x = x, self.drop(x)
        length = x.size(1)
        y = torch.zeros(length * 2, 4) + torch.arange(length * 2)[:, None]
        x = self.fc(x) * self.scale + self.shift + residual + y[length // 2 : length // 2 + length]
        x[:, 0] = self.table.mean(0)
        x.masked_fill_(x > 1, 0.5)
        first, second = x.chunk(2, -1)
        if mask is not None:
            x = x * mask[..., None]
        return {"sum": first.sum() + second.sum(), "parts": (x.mT, x.reshape(-1, 2))}


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(4, 20, (batch, length), generator=torch.Generator().manual_seed(batch))


def random(*sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(sizes[0]))


def jsc_tiny() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU())


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 2, enable_nested_tensor=False)


def conv_net() -> nn.Module:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(nn.Conv2d(3, 8, 3), InvertedResidual(8, 1), InvertedResidual(8, 2), *pool)


MODELS = {
    "jsc_tiny": (jsc_tiny, lambda n, t: {"input": random(n, 16)}),
    "conv_net": (conv_net, lambda n, t: {"input": random(n, 3, 12, 12)}),
    "recurrent": (Recurrent, lambda n, t: {"tokens": tokens(n, t)}),
    "encoder": (encoder, lambda n, t: {"src": random(n, t, 16)}),
    "odds": (Odds, lambda n, t: {"x": random(n, t, 4), "mask": torch.ones(n, t)}),
    "roberta": (small_roberta.build, lambda n, t: {"src_tokens": tokens(n, t)}),
}
