"""Tracing leaves no trace: what a model keeps during a run without data is gone afterwards, also when tracing fails."""

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import trace
from fairseq.graph.equality import difference
from tests.models import test_transformer


class Keeping(nn.Module):
    """Keeps tensors in every way between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.looking = nn.Linear(4, 4), Looking()
        self.mask = torch.empty(0)
        self.seen, self.by_name, self.parts, self.calls = [], {}, ([],), 0
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mask.size(0) < x.size(1):
            self.mask = torch.ones(x.size(1), x.size(1)).tril()
        y = self.mask[: x.size(1), : x.size(1)] @ self.fc(x)
        self.seen.append(y)
        self.by_name["y"], self.last = y, y
        self.parts[0].append(y)
        self.mean = y.mean((0, 1))
        if not hasattr(self, "late"):
            self.register_buffer("late", y[0], persistent=False)
        self.calls += 1
        return self.looking(y + self.last)


class Looking(nn.Module):
    """Only runs on data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x
        return x * float(x.detach().sum())


class Failing(Keeping):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


@pytest.mark.parametrize("kind", [Keeping, Failing])
def test_what_a_run_has_kept_is_gone(kind: type[Keeping]) -> None:
    model = kind().eval()
    mask = model.mask
    if kind is Failing:
        with pytest.raises(ConfigError, match="the value of a tensor decides"):
            trace(model, torch.randn(2, 5, 4))
    else:
        trace(model, torch.randn(2, 5, 4), check=False)
    assert model.mask is mask and not hasattr(model, "last") and not hasattr(model.looking, "kept")
    assert (model.seen, model.by_name, model.parts, model.calls) == ([], {}, ([],), 0)
    assert list(model.state_dict()) == ["mean", "fc.weight", "fc.bias"] and not hasattr(model, "late")
    assert type(model(torch.randn(2, 5, 4))) is torch.Tensor


def test_the_comparison_keeps_nothing() -> None:
    model = Keeping().eval()
    del model._modules["looking"]
    model.looking = nn.Identity()
    trace(model, torch.randn(2, 5, 4))
    assert model.calls == 0 and model.seen == [] and model.mask.numel() == 0


@pytest.mark.parametrize("ran_before", [False, True])
def test_a_decoder_that_keeps_its_mask(ran_before: bool) -> None:
    """Any length: the graph holds no mask of the length that an earlier run had."""
    model = test_transformer.build().eval()
    tokens = {"src_tokens": torch.randint(4, 30, (2, 7)), "src_lengths": torch.tensor([7, 6])}
    with torch.no_grad():
        if ran_before:
            model(**tokens, prev_output_tokens=torch.randint(4, 30, (2, 5)))
        graph = trace(model, tokens | {"prev_output_tokens": torch.randint(4, 30, (2, 5))})
        longer = tokens | {"prev_output_tokens": torch.randint(4, 30, (2, 9))}
        assert difference(model(**longer)[0], graph(**longer)[0]) is None
    assert type(model.decoder._future_mask) is torch.Tensor
