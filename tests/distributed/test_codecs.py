"""Codecs: sizes, errors, zeros, what is refused; and that C++ and torch's operations give the same bytes."""

import math

import pytest
import torch

from fairseq.distributed.codecs import CODECS, codec, group, hadamard, quantile, topk
from fairseq.distributed.codecs.delta import DeltaCache
from fairseq.errors import ConfigError, DataError

BY_VALUE = [
    "raw", "fp16", "bf16", "group:8,64", "group:4,64", "group:3,10", "group:12,50", "group:16,7", "group:1,64",
    "group:8,64,sr", "group:5,13,sr", "tensor:8", "tensor:4,sr", "quantile:2,6", "quantile:4,4", "quantile:parts=5,6",
    "quantile:1,15", "topk:0.5+group:8,64", "topk:0.1+quantile:2,2", "topk:1+tensor:6", "mxfp4", "mxint8", "block_fp:6",
]  # fmt: skip
OTHERS = ["hadamard+group:4,64", "hadamard:8+quantile:2,2", "lowrank:2", "delta:2,64"]
SHAPES = [(0,), (3, 0), (1,), (7,), (8, 64), (3, 5, 33), (130, 65)]


def outliers() -> torch.Tensor:
    """The tensor by which the project measures codecs: normal values, two channels 25 times as large."""
    x = torch.randn(1024, 768, generator=torch.Generator().manual_seed(0))
    x[:, [5, 300]] *= 25
    return x


def error(spec: str, x: torch.Tensor) -> float:
    return float((codec(spec).round_trip(x) - x).norm() / x.norm())


def test_every_codec_is_listed_here():
    named = {part.partition(":")[0] for spec in [*BY_VALUE, *OTHERS] for part in spec.split("+")}
    assert {name for name in CODECS if name != "format"} <= named


@pytest.mark.parametrize("spec", [*BY_VALUE, *OTHERS])
def test_messages_have_the_size_that_is_said_and_come_back_in_shape_and_type(spec):
    for shape in SHAPES:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        message = codec(spec).encode(x)
        assert (message.dtype, message.dim(), message.numel()) == (torch.uint8, 1, codec(spec).size(shape))
        y = codec(spec).decode(message, shape, torch.bfloat16)
        assert (y.shape, y.dtype) == (shape, torch.bfloat16)
        assert torch.equal(y, codec(spec).decode(message, shape).bfloat16())  # decoding is repeatable


@pytest.mark.parametrize("spec", BY_VALUE)
def test_zeros_stay_zero_and_constants_and_small_values_keep_their_size(spec):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(64, 48, generator=generator) * (torch.rand(64, 48, generator=generator) < 0.3)
    for tensor in (x, x.abs(), -x.abs(), x + x.sign() * 3, torch.zeros(64, 48), x * 1e-30):
        y = codec(spec).round_trip(tensor)
        assert not y[tensor == 0].any()
        assert bool(y.isfinite().all())
    constant = torch.full((40,), -3.0)
    if not spec.startswith("topk") and "fp4" not in spec:
        torch.testing.assert_close(codec(spec).round_trip(constant), constant, rtol=0.02, atol=0)


@pytest.mark.parametrize("spec", [*BY_VALUE, *OTHERS])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_has_diverged_stays_visible(spec, bad):
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(3))
    x[3, 5] = bad
    assert not codec(spec).round_trip(x)[3, 5].isfinite()


def test_relative_errors_are_those_of_the_specification():
    x = outliers()
    assert error("group:8,64", x) <= 0.0085
    assert error("group:4,64", x) <= 0.15
    assert error("hadamard+group:4,64", x) <= 0.075
    assert error("tensor:4", x) > 0.5  # one range for all: what groups are for
    assert error("quantile:4,4", x) < 1.02 * sorting_form_error(x, 16, 4)
    assert error("lowrank:8", x) < 0.65


def test_messages_are_as_much_smaller_as_promised():
    shape = (4096, 768)
    for spec, ratio in [
        ("group:8,64", 3.76),
        ("group:4,64", 7.1),
        ("topk:0.5+group:8,64", 6.0),
        ("quantile:2,6", 3.99),
    ]:
        assert 4 * math.prod(shape) / codec(spec).size(shape) >= ratio


@pytest.mark.parametrize("spec", [*BY_VALUE, "hadamard:8+quantile:2,2", "hadamard+group:4,64"])
def test_torch_and_the_kernels_give_the_same_bytes(spec, monkeypatch):
    x = torch.randn(130, 65, generator=torch.Generator().manual_seed(4)) ** 3
    x[0] = 0.0
    x[1, :] = -0.0
    message = codec(spec).encode(x, seed=5)
    y = codec(spec).decode(message, x.shape)
    for module in (group, quantile, topk, hadamard):
        assert module.native(x) is not None, "no compiler: the kernels cannot be tested"
        monkeypatch.setattr(module, "native", lambda _: None)
    assert torch.equal(codec(spec).encode(x, seed=5), message)
    assert torch.equal(codec(spec).decode(message, x.shape), y)


def test_stochastic_rounding_is_unbiased_and_follows_its_seed():
    c, x = codec("group:2,64,sr"), torch.full((64,), 0.2)
    x[0] = 1.0
    mean = torch.stack([c.round_trip(x, seed) for seed in range(2000)]).mean(0)
    torch.testing.assert_close(mean, x, atol=0.02, rtol=0)
    assert torch.equal(c.encode(x, 1), c.encode(x, 1))
    assert not torch.equal(c.encode(x, 1), c.encode(x, 2))


def test_gradients_with_many_zeros_have_no_bias():
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(65536, generator=generator) ** 5 * (torch.rand(65536, generator=generator) < 0.3)
    for spec in ("tensor:8", "group:8,64", "quantile:3,5"):
        y = codec(spec).round_trip(x)
        assert float((y - x).mean().abs()) < 0.02 * float(x.abs().mean())


def test_quantiles_divide_the_mass_and_single_values_pass_through():
    x = torch.tensor([-100.0, -1.0, 0.0, 0.0, 0.5, 2.0, 50.0, 1000.0])
    assert torch.equal(codec("quantile:3,1").round_trip(x), x)
    heavy = torch.randn(65536, generator=torch.Generator().manual_seed(7)) ** 5
    errors = [(codec(spec).round_trip(heavy) - heavy).abs().median() for spec in ("quantile:4,4", "tensor:8")]
    assert errors[0] < 0.05 * errors[1]


def sorting_form_error(x: torch.Tensor, parts: int, bits: int) -> float:
    """The error of what `quantile` stands for: sort, cut into parts of equal length, round each on its own range."""
    ordered = x.flatten().sort().values
    error = 0.0
    for run in ordered.chunk(parts):
        step = (run[-1] - run[0]) / (2**bits - 1)
        error += float((run - run[0] - ((run - run[0]) / step).round() * step).square().sum())
    return math.sqrt(error) / float(x.norm())


def test_quantiles_are_taken_from_every_channel():
    x = torch.randn(512, 768, generator=torch.Generator().manual_seed(9))
    x[:, 1::4] *= 25
    assert error("quantile:4,4", x) < 1.05 * sorting_form_error(x, 16, 4)


def test_topk_keeps_the_largest_and_reuses_a_mask():
    x = torch.tensor([[1.0, -5.0, 5.0, 2.0], [0.0, 5.0, -1.0, 0.5]])
    c = codec("topk:0.25+raw")
    message = c.encode(x)
    assert c.decode(message, x.shape).tolist() == [[0, -5, 5, 0], [0, 0, 0, 0]]  # of equal ones the first
    known = c.with_mask(c.mask(message, x.shape))
    gradient = torch.zeros(2, 4)  # a gradient of zeros has the forward's mask all the same
    gradient[0, 1] = 3.0
    sent = known.encode(gradient)
    assert torch.equal(known.decode(sent, x.shape), gradient)
    assert sent.numel() == message.numel() - 1
    assert known.with_mask(None) is known


def test_delta_follows_a_sample_that_changes_little():
    c, sent, received = codec("delta:2,64"), DeltaCache(), DeltaCache()
    x = torch.randn(4, 16, 64, generator=torch.Generator().manual_seed(8))
    for visit in range(4):
        drift = 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(20 + visit))
        now, ids = x + drift, [3, 1, 4, 5]
        bound = c.with_samples(sent, ids)
        size = bound.size(x.shape)
        message = bound.encode(now)
        assert message.numel() == size
        y = c.with_samples(received, ids).decode(message, x.shape)
        if visit:
            assert float((y - now).norm() / now.norm()) < 0.05 < error("group:2,64", now)
    assert sent.num_bytes == received.num_bytes > 0
    restored = DeltaCache()
    restored.load_state_dict(sent.state_dict())
    for sample in ids:
        assert torch.equal(restored.get(sample, (16, 64), x.device), received.get(sample, (16, 64), x.device))
    longer = c.with_samples(received, [3]).decode(c.with_samples(sent, [3]).encode(torch.ones(1, 20, 64)), (1, 20, 64))
    assert longer.shape == (1, 20, 64)
    with pytest.raises(DataError, match="2 samples for a tensor of shape"):
        c.with_samples(sent, [1, 2]).encode(x)


def test_truncated_and_foreign_messages_are_refused_in_one_line():
    c, x = codec("group:8,64"), torch.randn(8, 64)
    message = c.encode(x)
    with pytest.raises(DataError, match=r"has 547 bytes instead of 548"):
        c.decode(message[:-1], x.shape)
    with pytest.raises(DataError, match="another codec or another shape"):
        c.decode(message, (64, 8))
    with pytest.raises(DataError, match="another codec or another shape"):
        codec("group:8,64,sr").decode(message, x.shape)
    with pytest.raises(DataError, match="flat uint8"):
        c.decode(message.float(), x.shape)
    marked = codec("topk:0.5+raw").encode(x)
    marked[4:20] = 255
    with pytest.raises(DataError, match="does not mark 256 values"):
        codec("topk:0.5+raw").decode(marked, x.shape)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gruop:8,64", "did you mean 'group'"),
        ("mxfp5", "did you mean 'mxfp"),
        ("group:17,64", "number of bits is '17'"),
        ("group:8", "written group:BITS,SIZE"),
        ("group:8,64,nearset", "neither sr nor nearest"),
        ("quantile:0,8", "parts is '0'"),
        ("quantile:8,9", "17 bits for a value"),
        ("topk:0.5", "wants a codec behind a +"),
        ("topk:1.5+raw", "not a number above 0"),
        ("group:8,64+raw", "nothing can follow group:8,64"),
        ("hadamard:48+raw", "not a power of two"),
        ("symmetric:8", "take group:BITS,SIZE"),
        ("block_fp", "say how many"),
        ("lowrank:0", "the rank is '0'"),
    ],
)
def test_specs_that_cannot_be_are_refused_in_one_line(spec, message):
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")) as caught:
        codec(spec)
    assert len(str(caught.value).splitlines()) == 1


def test_spaces_do_not_matter_and_a_codec_is_taken_as_it_is():
    assert codec(" group:8, 64 ").spec == "group:8,64"
    c = codec("topk:0.5+group:8,64")
    assert codec(c) is c
