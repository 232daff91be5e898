"""Linear layers with packed weights: the numbers of F.linear, whatever happens to the weights in between."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from fairseq.native import packed_linear
from fairseq.native.packed_linear import PackedWeights, linear


def product(packs, x, weight, bias=None):
    with torch.no_grad(), packs.in_use():
        return linear(x, weight, bias)


def assert_is_linear(y, x, weight, bias=None):
    torch.testing.assert_close(y, F.linear(x, weight, bias), atol=1e-4, rtol=1e-5)


@pytest.fixture
def packed_calls(monkeypatch):
    """How often a weight was packed."""
    calls, plain = [], packed_linear._pack
    monkeypatch.setattr(packed_linear, "_pack", lambda *args: (calls.append(1), plain(*args))[1])
    return calls


@pytest.mark.parametrize("shape", [(256,), (1, 256), (5, 256), (2, 7, 256)])
def test_same_as_linear(shape, packed_calls):
    x, weight, bias = torch.randn(shape), torch.randn(384, 256), torch.randn(384)
    packs = PackedWeights()
    for _ in range(2):
        assert_is_linear(product(packs, x, weight, bias), x, weight, bias)
        assert_is_linear(product(packs, x, weight), x, weight)
    assert len(packed_calls) == 1


@pytest.mark.parametrize(
    "change", [lambda w: w.mul_(2), lambda w: w.data.mul_(2), lambda w: w.set_(torch.randn(384, 256))]
)
def test_changed_weights_are_packed_anew(change):
    x, weight, packs = torch.randn(4, 256), torch.randn(384, 256), PackedWeights()
    product(packs, x, weight)
    change(weight)
    assert_is_linear(product(packs, x, weight), x, weight)


def test_where_it_does_not_apply(packed_calls):
    x, weight, packs = torch.randn(4, 256), torch.randn(384, 256), PackedWeights()
    assert_is_linear(linear(x, weight, None), x, weight)  # outside of a block
    with packs.in_use():
        y = linear(x, weight.requires_grad_(), None)
    assert y.requires_grad
    assert_is_linear(product(packs, x.double(), weight.detach().double()), x.double(), weight.double())
    assert_is_linear(product(packs, x[:, :8], torch.ones(3, 8)), x[:, :8], torch.ones(3, 8))
    assert product(packs, x[:0], weight).shape == (0, 384)
    assert not packed_calls


def test_copies_start_empty(packed_calls):
    x, weight, packs = torch.randn(4, 256), torch.randn(384, 256), PackedWeights()
    product(packs, x, weight)
    for copied in (copy.deepcopy(packs), pickle.loads(pickle.dumps(packs))):
        assert_is_linear(product(copied, x, weight), x, weight)
    assert len(packed_calls) == 3


def test_packed_forms_end_with_their_weights():
    x, packs = torch.randn(4, 256), PackedWeights()
    product(packs, x, torch.randn(384, 256))
    assert len(packs._packed) == 0


def test_an_error_ends_the_block():
    packs = PackedWeights()
    with pytest.raises(RuntimeError, match="stop"), packs.in_use():
        raise RuntimeError("stop")
    assert packed_linear._IN_USE.get() is None
