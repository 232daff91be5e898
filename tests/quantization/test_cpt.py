"""CPT's semantics, bit for bit in fp32, against a NumPy oracle."""

import numpy as np
import pytest
import torch

from fairseq.errors import ConfigError, TrainingError
from fairseq.modules.quantize import QLinear, QMatmul, QuantMeasure, calculate_qparams, quantize, quantize_grad
from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.spec import FOLLOW, GRADIENT

from . import oracle

ALL_BITS = range(2, 17)


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * 3 + 0.7


def same(ours: torch.Tensor, theirs: np.ndarray) -> bool:
    return torch.equal(ours.detach(), torch.from_numpy(np.asarray(theirs, dtype=np.float32)).view_as(ours))


@pytest.mark.parametrize("num_bits", ALL_BITS)
def test_quantize_equals_the_formulas(num_bits: int) -> None:
    x = tensor(16, 33)
    assert same(quantize(x, num_bits, flatten_dims=(1, -1), reduce_dim=None), oracle.per_row(x.numpy(), num_bits))
    assert same(quantize(x, num_bits, flatten_dims=(0, -1), reduce_dim=0), oracle.per_tensor(x.numpy(), num_bits))
    qparams = calculate_qparams(x, num_bits, reduce_type="extreme")
    assert same(quantize(x, qparams=qparams), oracle.rows_reduced(x.numpy(), num_bits, "extreme"))


def test_mean_of_rows() -> None:
    x = tensor(4, 8)  # four rows: their mean is the same in any order of summation
    qparams = calculate_qparams(x, 5, reduce_type="mean")
    assert torch.allclose(qparams.zero_point, x.min(1).values.mean())
    assert torch.allclose(qparams.range, x.max(1).values.mean() - x.min(1).values.mean())
    assert np.allclose(quantize(x, 5), oracle.rows_reduced(x.numpy(), 5, "mean"), atol=1e-6)


def test_qparams_broadcast_and_keep_the_axis() -> None:
    x = tensor(3, 4, 5, 6)
    assert calculate_qparams(x, 8, (1, -1), reduce_dim=None).range.shape == (3, 1, 1, 1)
    assert calculate_qparams(x, 8, (1, -1), keepdim=True).range.shape == (1, 1, 1, 1)
    assert calculate_qparams(x, 8, (0, -1), reduce_dim=None).range.shape == (1, 1, 1, 1)
    for shape in ((), (7,), (2, 3), (2, 3, 4, 5)):
        assert quantize(tensor(*shape), 4).shape == shape
    with pytest.raises(ConfigError, match="true zero"):
        calculate_qparams(x, 8, true_zero=True)


def test_signed_and_codes() -> None:
    x = tensor(4, 9)
    low, high = x.min(), x.max()
    codes = quantize(x, 4, flatten_dims=(0, -1), dequantize=False)
    signed = quantize(x, 4, flatten_dims=(0, -1), dequantize=False, signed=True)
    assert codes.min() == 0 and codes.max() == 15 and signed.min() == -8 and signed.max() == 7
    scale = ((high - low) / 15).clamp(min=1e-8)
    expected = torch.round(torch.clamp((x + (-8 * scale - low)) / scale, -8, 7))
    assert torch.equal(signed, expected)


def test_straight_through_also_outside_the_range() -> None:
    x = tensor(3, 4).requires_grad_()
    qparams = calculate_qparams(x.detach() / 10, 4)  # most values lie outside
    weights = tensor(3, 4, seed=1)
    (quantize(x, qparams=qparams) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_no_bits_is_no_quantization() -> None:
    x = tensor(3, 4)
    assert quantize(x) is x and quantize(x, 0) is x and quantize_grad(x, None) is x
    assert QuantMeasure()(x, None) is x and QuantMeasure()(x, 0) is x


@pytest.mark.parametrize("num_bits", [2, 4, 8, 16])
def test_quantize_grad(num_bits: int) -> None:
    x, g = tensor(6, 5).requires_grad_(), tensor(6, 5, seed=3)
    y = quantize_grad(x, num_bits, stochastic=False)
    assert torch.equal(y, x)
    y.backward(g)
    assert same(x.grad, oracle.per_tensor(g.numpy(), num_bits))


@pytest.mark.parametrize("num_bits", [3, 8])
def test_quant_measure(num_bits: int) -> None:
    measure, expected = QuantMeasure(), oracle.RunningRange()
    for seed in range(5):
        x = tensor(6, 5, seed=seed)
        assert same(measure(x, num_bits), expected.train(x.numpy(), num_bits))
    x = tensor(6, 5, seed=9)
    assert same(measure.eval()(x, num_bits), expected.evaluate(x.numpy(), num_bits))


def test_quant_measure_calibrates() -> None:
    measure = QuantMeasure(measure=True)
    batches = [tensor(4, 5, seed=seed) for seed in range(3)]
    assert all(measure(x, 8) is x for x in batches)
    assert torch.allclose(measure.running_zero_point, torch.stack([x.min() for x in batches]).mean())
    with pytest.raises(TrainingError, match="no data"):
        QuantMeasure().eval()(batches[0], 8)


@pytest.mark.parametrize("num_bits", ALL_BITS)
def test_quantizers_of_the_preset(num_bits: int) -> None:
    weight = Quantizer("w", WEIGHT, reference_spec(WEIGHT), QuantizationContext(), shape=(16, 33))
    x = tensor(16, 33)
    assert same(weight.fake(x, num_bits), oracle.per_row(x.numpy(), num_bits))
    context = QuantizationContext()
    activation, expected = Quantizer("a", ACTIVATION, reference_spec(ACTIVATION), context), oracle.RunningRange()
    for update in range(4):
        context.set(update)
        x = tensor(2, 6, 5, seed=update)
        assert same(activation.fake(x, num_bits), expected.train(x.numpy(), num_bits))
    assert same(activation.eval().fake(x, num_bits), expected.evaluate(x.numpy(), num_bits))


def exact_layer(num_bits: int) -> QLinear:
    """A layer in the reference's deterministic mode: gradients rounded to nearest."""
    specs = {
        "weight": reference_spec(WEIGHT),
        "input": reference_spec(ACTIVATION),
        "grad_output": QuantizerSpec(bits=num_bits, rounding="nearest"),
    }
    return QLinear(33, 16, specs=specs)


@pytest.mark.parametrize("num_bits", ALL_BITS)
def test_qlinear_forward_and_both_backward_products(num_bits: int) -> None:
    layer, x, g = exact_layer(num_bits), tensor(5, 7, 33).requires_grad_(), tensor(5, 7, 16, seed=2)
    y = layer(x, num_bits=num_bits)
    y.backward(g)
    # the same products of the oracle's operands
    xq = torch.from_numpy(oracle.per_tensor(x.detach().numpy(), num_bits))
    wq = torch.from_numpy(oracle.per_row(layer.weight.detach().numpy(), num_bits))
    gq = torch.from_numpy(oracle.per_tensor(g.numpy(), num_bits))
    rows, g_rows = xq.view(35, 33), gq.view(35, 16)
    assert torch.equal(y.view(35, 16), torch.nn.functional.linear(rows, wq, layer.bias))
    assert torch.equal(x.grad.view(35, 33), g_rows @ wq)
    assert torch.equal(layer.weight.grad, g_rows.t() @ rows)
    assert torch.allclose(layer.bias.grad, g_rows.sum(0))


@pytest.mark.parametrize("num_bits", [2, 8, 16])
def test_qmatmul_forward_and_both_backward_products(num_bits: int) -> None:
    product = QMatmul(num_grad_bits=None)
    a, b, g = tensor(3, 4, 6).requires_grad_(), tensor(3, 6, 5, seed=1).requires_grad_(), tensor(3, 4, 5, seed=2)
    y = product(a, b, num_bits=num_bits)
    y.backward(g)
    aq = torch.from_numpy(oracle.per_tensor(a.detach().numpy(), num_bits))
    bq = torch.from_numpy(oracle.per_tensor(b.detach().numpy(), num_bits))
    assert torch.allclose(y, aq @ bq, atol=1e-5)
    assert torch.allclose(a.grad, g @ bq.mT, atol=1e-5) and torch.allclose(b.grad, aq.mT @ g, atol=1e-5)


def test_reference_specs_follow_bits_and_pin_gradients() -> None:
    assert reference_spec(WEIGHT).bits == FOLLOW and reference_spec(GRADIENT, 6).bits == 6
    assert reference_spec(GRADIENT, 0).bits is None
