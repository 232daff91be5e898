"""torch's own transformer layers are traced with every mask, and errors name modules and statements, none of torch."""

import logging

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import trace
from fairseq.graph.equality import difference

CAUSAL = nn.Transformer.generate_square_subsequent_mask(9)
X = torch.randn(4, 9, 16, generator=torch.Generator().manual_seed(0))
PADDED = torch.arange(9) >= torch.tensor([9, 6, 4, 9])[:, None]  # (B, T)


def encoder(**options) -> nn.TransformerEncoder:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 2, **options).eval()


def decoder() -> nn.TransformerDecoder:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 24, batch_first=True), 2).eval()


MASKED = {
    "padding": (encoder, {"src": X, "src_key_padding_mask": PADDED}),
    "numbers": (encoder, {"src": X, "mask": torch.arange(81.0).view(9, 9) / 40}),
    "causal": (encoder, {"src": X, "mask": CAUSAL}),
    "decoder": (decoder, {"tgt": X, "memory": X[:, :7], "tgt_mask": CAUSAL}),
}


@pytest.mark.parametrize("name", MASKED)
def test_transformer_layers_with_masks_in_evaluation(name: str) -> None:
    make, inputs = MASKED[name]
    model = make()
    graph = trace(model, inputs)
    assert torch.backends.mha.get_fastpath_enabled()
    assert difference(model(**inputs), graph(**inputs)) is None  # with gradients torch takes its usual path
    if name == "padding":
        with torch.no_grad():
            torch.testing.assert_close(graph(**inputs)[~PADDED], model(**inputs)[~PADDED])


class Around(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor = None) -> torch.Tensor:
        return self.inner(x)


class Looking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Identity()  # a module without parts is a leaf

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input if input.sum() > 0 else -input


WRONG = [
    (
        nn.Sequential(nn.Linear(16, 4)),
        {"input": X[..., 1:]},
        r"^Sequential cannot be traced, in '0', a Linear: Runtime",
    ),
    (
        Around(nn.Linear(16, 4)),
        {"x": X[..., 1:]},
        r"at .*test_torch_layers.py:\d+, `return self.inner.*'inner', a Linear",
    ),
    (Around(Looking()), {"x": X}, "; name the module around it as a leaf: 'inner'$"),
    (Looking(), {"input": X}, "the model itself cannot be a leaf: put the statement into a module of its own"),
    (nn.LSTM(16, 4), {"input": X}, "^LSTM cannot be traced: .*LSTM is one node of a graph: trace a module that has it"),
    (nn.Sequential(nn.LSTM(16, 4)), {"input": X[..., 1:]}, "^Sequential cannot be traced, in '0', a LSTM: "),
    (
        nn.Transformer(16, 2),
        {"src": X},
        "needs 'tgt', too; give its inputs, such as --input 'src:.*--input 'tgt:float32",
    ),
    (torch.fx.symbolic_trace(nn.Sequential(nn.Linear(16, 4))), {"input": X[..., 1:]}, "traced, in '0', a Linear: Run"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_errors_name_what_is_the_users(case: int, capfd, caplog) -> None:
    model, inputs, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as error:
        trace(model.eval(), inputs)
    assert "\n" not in str(error.value) and "site-packages" not in str(error.value)
    assert capfd.readouterr() == ("", "") and not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert not logging.getLogger("torch._subclasses.fake_tensor").disabled


def test_a_model_in_a_folder_that_is_called_torch(tmp_path, monkeypatch) -> None:
    (tmp_path / "torch").mkdir()
    file = tmp_path / "torch" / "turns.py"
    file.write_text("def forward(input):\n    return input if input.sum() > 0 else -input\n")
    names: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    model = Looking()
    monkeypatch.setattr(model, "forward", names["forward"], raising=False)
    with pytest.raises(ConfigError, match=r"torch/turns.py:2, `return input if input.sum\(\) > 0 else -input`"):
        trace(model, X)
