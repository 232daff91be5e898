"""The feed-forward block on codes in one piece, against the same layers one by one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.modules import feed_forward
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayerBase
from fairseq.native import gelu
from fairseq.native.library import library
from fairseq.quantization import quantize_model
from fairseq.quantization.kernels import encoding, gelu_codes, gemm
from fairseq.quantization.products.integer_feed_forward import integer_feed_forward
from tests import needs

ROWS, WIDTH, INNER = 500, 16, 64
pytestmark = [needs.compiler, needs.dot_products]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in ((gemm, "MIN_MACS"), (encoding, "MIN_KERNEL_ELEMENTS"), (gelu, "MIN_KERNEL_ELEMENTS")):
        monkeypatch.setattr(place, name, 0)
    # they are tested wherever they run, also where others are faster
    monkeypatch.setattr(gemm, "has_amx", lambda: False)
    for place in (gelu, gelu_codes):
        monkeypatch.setattr(place, "kernels", lambda x: library("gelu"))


def layer(preset: str, **changes: Any) -> TransformerEncoderLayerBase:
    torch.manual_seed(3)
    config = {"encoder_embed_dim": WIDTH, "encoder_ffn_embed_dim": INNER, "encoder_attention_heads": 2,
              "activation_fn": "gelu", "dropout": 0.0, **changes}  # fmt: skip
    made = TransformerEncoderLayerBase(TransformerConfig.from_namespace(config))
    return quantize_model(made, preset, compute="integer")


class Taken:
    """Whether the block was found in one piece."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, allowed: bool = True):
        self.results: list[bool] = []

        def counted(*arguments: Any) -> Any:
            y = integer_feed_forward(*arguments) if allowed else None
            self.results.append(y is not None)
            return y

        monkeypatch.setattr(feed_forward, "integer_feed_forward", counted)


def run(model: Any, x: Tensor, evaluates: bool) -> tuple[Tensor, dict[str, Any]]:
    with torch.no_grad():
        model.train()
        model.quantization.begin_micro_batch(0)
        y = model(x, None)
        if evaluates:
            model.eval()
            y = model(x * 0.7, None)
    return y, {name: part.clone() for name, part in model.state_dict().items()}


@pytest.mark.parametrize("evaluates", [False, True])
@pytest.mark.parametrize("preset", ["int8", "int4", "cpt_3_8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_as_layer_by_layer(
    preset: str, evaluates: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(ROWS // 4, 4, WIDTH)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        taken = Taken(monkeypatch)
        y, state = run(layer(preset), x, evaluates)
        Taken(monkeypatch, allowed=False)
        expected, expected_state = run(layer(preset), x, evaluates)
    finally:
        torch.set_num_threads(before)
    assert taken.results == [True] * (1 + evaluates)
    assert (y - expected).abs().max() <= 2e-4 * expected.abs().max()  # a code half way between two may be the other
    assert state.keys() == expected_state.keys()
    for name, part in state.items():
        torch.testing.assert_close(part, expected_state[name], rtol=1e-6, atol=1e-7)


def test_not_where_somebody_could_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(ROWS // 4, 4, WIDTH)
    taken = Taken(monkeypatch)
    layer("int8")(x, None).sum().backward()  # gradients are wanted
    model = layer("int8")
    handle = model.fc1.register_forward_hook(lambda *_: None)
    run(model, x, False)
    handle.remove()
    run(layer("int8", activation_fn="relu"), x, False)
    run(layer("int8", activation_dropout=0.1), x, False)
    assert not any(taken.results)
    run(model, x, False)
    assert taken.results[-1]


def test_nan_is_not_hidden() -> None:
    x = torch.randn(ROWS // 4, 4, WIDTH)
    x[1, 2, 3] = float("nan")
    y, _ = run(layer("int8"), x, False)
    assert y.isnan().any()


@pytest.mark.parametrize("name", ["affine", "symmetric", "affine_float_zp"])
def test_codes_of_gelu(name: str) -> None:
    from fairseq.quantization.formats import build_format
    from fairseq.quantization.kernels.codes import encode

    x, number_format = torch.randn(37, 41) * 2, build_format(name)
    y = gelu.gelu(x)
    low, high = gelu_codes.range_of(x)
    assert torch.stack([low, high]).equal(torch.stack(y.aminmax()))
    for share in (1.0, 0.6):
        qparams = number_format.qparams((low * share).view(1, 1), (high * share).view(1, 1), 8)
        codes = torch.empty(x.shape, dtype=torch.uint8)
        gelu_codes.codes_of(x, number_format, qparams, 8, codes)
        assert (codes.int() - encode(y, number_format, qparams, 8).data.int()).abs().max() <= 1
        assert (codes == encode(y, number_format, qparams, 8).data).float().mean() > 0.999
