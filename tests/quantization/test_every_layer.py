"""Every layer with every number format (`layer_registry.py`): what comes out, what flows back, what is kept."""

import copy
import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from fairseq.quantization.formats import FORMATS, build_format
from tests.quantization.layer_registry import LAYERS as WITH_WEIGHTS
from tests.quantization.layer_registry import Holder, Layer, formats, quantized
from tests.quantization.layers_without_weights import WITHOUT_WEIGHTS

LAYERS = WITH_WEIGHTS | WITHOUT_WEIGHTS
KINDS = list(LAYERS)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """A failure inside the block names the format."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"format {name}: {error}") from error


def tensors(shapes: tuple[tuple[int, ...], ...], fill: str = "random", grad: bool = True) -> list[Tensor]:
    made = []
    for shape in shapes:
        x = torch.randn(shape)
        x = x if fill == "random" else torch.full_like(x, 0.0 if fill == "zero" else 0.37)
        made.append(x.requires_grad_(grad))
    return made


def check_plan(model: nn.Module, layer: Layer, name: str, bits: int) -> None:
    rows, written = model.quantization.plan.rows, str(build_format(name))
    assert {row.quantizer.rpartition(".")[2] for row in rows} >= set(layer.words)
    for row in rows:
        assert row.active, row.quantizer
        if row.role != "gradient":
            assert row.cells()["format"] == written, row.quantizer


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward(kind: str) -> None:
    layer = LAYERS[kind]
    for name, number_format, bits in formats():
        with naming(name):
            torch.manual_seed(1)
            model = quantized(kind, layer, number_format, bits)
            check_plan(model, layer, name, bits)
            plain = Holder(layer.make(), layer.call)
            calls = [(layer.shapes[0], "random"), (layer.shapes[0], "equal"), (layer.shapes[0], "zero")]
            calls += [(shapes, "random") for shapes in layer.shapes[1:]]
            for shapes, fill in calls:
                inputs = tensors(shapes, fill, layer.has_gradient)
                y = model(*inputs)
                assert y.shape == plain(*inputs).shape and y.dtype == torch.float32
                assert y.isfinite().all(), (shapes, fill)
                y.sum().backward()
                for x in inputs if layer.has_gradient else ():
                    assert x.grad is not None and x.grad.shape == x.shape and x.grad.isfinite().all(), (shapes, fill)
            for key, parameter in model.named_parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("kind", KINDS)
def test_saved_copied_and_moved(kind: str) -> None:
    layer = LAYERS[kind]
    for name, number_format, bits in formats():
        with naming(name):
            torch.manual_seed(1)
            model = quantized(kind, layer, number_format, bits)
            inputs = tensors(layer.shapes[0], grad=False)
            model(*inputs)
            y = model.eval()(*inputs)
            memory = io.BytesIO()
            torch.save(model.state_dict(), memory)
            memory.seek(0)
            other = quantized(kind, layer, number_format, bits)
            other.load_state_dict(torch.load(memory, weights_only=True), strict=True)
            assert torch.equal(other.eval()(*inputs), y)
            assert torch.equal(copy.deepcopy(model)(*inputs), y)
            assert torch.equal(pickle.loads(pickle.dumps(model))(*inputs), y)
            half = model.train().bfloat16()(*(x.bfloat16() for x in inputs))
            assert half.dtype == torch.bfloat16 and half.shape == y.shape and half.isfinite().all()


def test_every_format_says_its_values_and_bits() -> None:
    assert {name for name, *_ in formats()} == set(FORMATS)
    for name, number_format, bits in formats():
        values = number_format.values(min(bits, 8))
        assert values.numel() >= 2 and bool((values.diff() > 0).all()), name
        assert bits <= number_format.bits_per_value(bits, 32) < bits + 8, name
