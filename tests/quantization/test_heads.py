"""Attention's core on codes in one piece, against the same step by step."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairseq.errors import TrainingError
from fairseq.modules import MultiheadAttention, dropout
from fairseq.modules.attention.core import add_mask, probabilities
from fairseq.native import library, minmax
from fairseq.quantization import MatMul, quantize_model
from fairseq.quantization.analysis.bitops import CostMeter
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.kernels import heads
from fairseq.quantization.kernels import library as kernel_library
from fairseq.quantization.kernels.codes import decode
from fairseq.quantization.products import integer_attention as core
from fairseq.quantization.products.integer_attention import DropoutSpec, integer_attention
from fairseq.quantization.products.integer_encode import input_codes
from tests import needs

pytestmark = needs.compiler
PRESETS = ("int8", "int4", "cpt_3_8")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(heads, "MIN_KERNEL_ELEMENTS", 1)
    yield


class Products(nn.Module):
    """The two products of an attention, with a way each of going through them."""

    def __init__(self) -> None:
        super().__init__()
        self.qk, self.pv = MatMul("query", "key"), MatMul("probs", "value", "output")

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor], count: int, seed: Optional[int]
    ) -> Tensor:
        drop = None if seed is None else (lambda: DropoutSpec(6554, seed))
        context = integer_attention(self.qk.quantizers, self.pv.quantizers, q, k, v, mask, count, 0.3, drop, None)
        return self.stepwise(q, k, v, mask, count, seed) if context is None else context

    def stepwise(self, q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor], count: int, seed: Any) -> Tensor:
        probs = probabilities(add_mask(self.qk(q * 0.3, k.mT), mask, count))
        if seed is not None:
            probs = probs * dropout._noise(probs, 6554, torch.tensor(seed))
        return self.pv(probs, v)


class Case:
    """A model, its operands, and results both ways."""

    def __init__(
        self, preset: str = "int8", batch: int = 2, count: int = 3, queries: int = 9, keys: int = 9, depth: int = 8,
        width: int = 8, mask: str = "none", seed: Optional[int] = 5, **changes: Any,
    ):  # fmt: skip
        torch.manual_seed(batch * count + queries)
        self.model = quantize_model(Products(), preset, compute="integer", **changes)
        lengths = ((queries, depth), (keys, depth), (keys, width))
        # (T, B*H, D) in memory, as projections leave it
        self.operands = [torch.randn(n, batch * count, d).transpose(0, 1).requires_grad_() for n, d in lengths]
        self.mask = masks(mask, batch, queries, keys)
        self.count, self.seed = count, seed
        self.grad = torch.randn(batch * count, queries, width)

    def context(self) -> Tensor:
        self.model.quantization.begin_micro_batch(3)
        return self.model(*self.operands, self.mask, self.count, self.seed)

    def run(self) -> list[Tensor]:
        y = self.context()
        return [y.detach(), *torch.autograd.grad(y, self.operands, self.grad)]

    def both(self) -> tuple[list[Tensor], list[Tensor]]:
        before = copy.deepcopy(self.model)
        whole = self.run()
        self.model = before
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(heads, "library", lambda name: None)
            steps = self.run()
        return whole, steps


def masks(kind: str, batch: int, queries: int, keys: int) -> Optional[Tensor]:
    padding = torch.zeros(batch, 1, 1, keys)
    padding[0, ..., keys // 2 + 1 :] = -1e30
    causal = torch.randn(queries, keys)
    return {"none": None, "padding": padding, "causal": causal, "both": padding + causal}[kind]


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.isfinite().all() and found.shape == expected.shape
    assert (found - expected).norm() <= tolerance * expected.norm() + 1e-30


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mask", ["none", "padding", "causal", "both"])
def test_equals_the_steps(preset: str, mask: str) -> None:
    case = Case(preset, queries=33, keys=33, depth=20, mask=mask)
    # a rounding difference may put a probability or a gradient on the next level
    for whole, steps in zip(*case.both(), strict=True):
        close(whole, steps, 2e-3)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_shape(data: st.DataObject) -> None:
    size, mask = st.integers(1, 40), st.sampled_from(["none", "padding", "causal", "both"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "MIN_KERNEL_ELEMENTS", 1)
        preset, few = st.sampled_from(("int8", "cpt")), st.integers(1, 3)
        shape = data.draw(st.tuples(few, few, size, size, size, size))
        case = Case(data.draw(preset), *shape, data.draw(mask), data.draw(st.sampled_from([None, 5, -7])))
        for whole, steps in zip(*case.both(), strict=True):
            close(whole, steps, 0.03)


@pytest.mark.parametrize("preset", PRESETS)
def test_codes_and_ranges_are_those_of_the_quantizers(preset: str) -> None:
    case = Case(preset, queries=12, keys=7, seed=None)
    saved = case.context().grad_fn.saved_tensors
    probs = case.model.pv.quantizers.quantizer("left")
    q, k, v = (x.detach() for x in case.operands)
    products = case.model.qk.quantizers, case.model.pv.quantizers
    quantizers = [products[0].quantizer("left"), products[0].quantizer("right"), products[1].quantizer("right")]
    ranges = [quantizer.observer.pending.clone() for quantizer in (*quantizers, probs)]
    case.model.quantization.begin_micro_batch(4)
    bits = case.model.quantization.config.num_bits
    for quantizer, x, kept, seen in zip(quantizers, (q * 0.3, k, v), saved, ranges, strict=False):
        expected = input_codes(quantizer, x, bits).codes
        flat = expected.data.view(q.shape[0], -1)
        if bits <= 4:
            flat = flat[:, : flat.shape[1] // 2] | flat[:, flat.shape[1] // 2 :] << 4
        assert torch.equal(kept, flat.flatten())
        assert torch.equal(quantizer.observer.pending, seen) and seen[1] > 0
    assert ranges[3][1] > 0


def test_kept_bytes() -> None:
    for preset, each in (("int8", 1.0), ("int4", 0.5)):
        case = Case(preset, queries=12, keys=16, depth=8, width=8)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.nbytes) or x, lambda x: x):
            case.context()
        assert sum(kept) == each * (sum(x.numel() for x in case.operands) + 6 * 12 * 16)


def test_evaluation_takes_the_ranges_of_training() -> None:
    case = Case(queries=16, keys=16, seed=None)
    case.run()
    case.model.quantization.end_update(case.model)
    case.model.eval()
    for x in case.operands:
        x.data *= 1.5  # outside these ranges
    whole, steps = case.both()
    close(whole[0], steps[0], 1e-3)
    case.model.train()
    assert (case.run()[0] - whole[0]).norm() > 0.05 * whole[0].norm()


def test_threads_share_the_heads() -> None:
    case = Case(batch=3, count=3, queries=130, keys=131, depth=64, width=60, mask="padding")
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(case.run())
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        assert torch.equal(one, three)


def test_the_loops_without_vector_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library, "NATIVE", ("-mno-avx512f", "-mno-avx2", "-mno-fma"))
    plain = library.library.__wrapped__("heads", kernel_library.SOURCES)
    monkeypatch.setattr(heads, "library", lambda name: plain)
    for mask in ("none", "both"):
        whole = Case("cpt_3_8", queries=21, keys=18, mask=mask).run()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(heads, "library", lambda name: None)
            steps = Case("cpt_3_8", queries=21, keys=18, mask=mask).run()
        for one, other in zip(whole, steps, strict=True):
            close(one, other, 0.02)


def test_nan_and_forbidden_rows_are_not_hidden() -> None:
    case = Case()
    with torch.no_grad():
        case.operands[1][0, 2, 1] = torch.nan
    assert not case.run()[0].isfinite().any()
    case = Case()
    case.grad[1, 2, 3] = torch.nan
    for grad in case.run()[1:]:
        assert not grad.isfinite().all()
    case = Case(mask="padding", seed=None)
    case.mask[0] = -torch.inf
    assert case.context().isnan().all()


def test_only_wanted_gradients() -> None:
    for wanted in ((True, False, False), (False, True, False), (False, False, True), (True, False, True)):
        case = Case(mask="padding")
        everything = case.run()[1:]
        for x, needed in zip(case.operands, wanted, strict=True):
            x.requires_grad_(needed)
        y = case.context()
        leaves = [x for x in case.operands if x.requires_grad]
        found = torch.autograd.grad(y, leaves, case.grad)
        for one, other in zip(found, (g for g, needed in zip(everything, wanted, strict=True) if needed), strict=True):
            assert torch.equal(one, other)


def test_backward_can_be_repeated_and_not_differentiated() -> None:
    case = Case()
    y = case.context()
    first = torch.autograd.grad(y, case.operands, case.grad, retain_graph=True)
    for one, two in zip(first, torch.autograd.grad(y, case.operands, case.grad, retain_graph=True), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(TrainingError, match="no gradient of its gradient"):
        torch.autograd.grad(y, case.operands, case.grad.requires_grad_(), create_graph=True)


def test_gradients_in_any_order_of_memory() -> None:
    case = Case(queries=12, keys=12)
    expected = case.run()
    case.operands = [x.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for x in case.operands]
    case.grad = case.grad.mT.contiguous().mT
    for one, other in zip(case.run(), expected, strict=True):
        assert torch.equal(one, other)
    y = case.context()
    y.sum().backward()  # a gradient whose numbers are one in memory
    assert case.operands[0].grad.isfinite().all()


# --- when it takes over -----------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    run = heads.Attention.run
    monkeypatch.setattr(heads.Attention, "run", lambda self, which: found.append(which) or run(self, which))
    return found


def attention(preset: str = "int8", rules: Any = (), **options: Any) -> nn.Module:
    torch.manual_seed(0)
    module = MultiheadAttention(24, 3, self_attention=True, dropout=0.1, **options)
    return quantize_model(module, preset, compute="integer", rules=list(rules))


def attend(module: nn.Module, **options: Any) -> Tensor:
    x = torch.randn(7, 2, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
    module.quantization.begin_micro_batch(0)
    torch.manual_seed(2)
    y = module(x, x, x, **{"need_weights": False, **options})[0]
    y.square().sum().backward()
    return y.detach()


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_multihead_attention_is_one_piece(
    options: dict[str, bool], calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 5:] = True
    both = {"key_padding_mask": padding, "attn_mask": torch.randn(7, 7)}
    y = attend(attention(**options), **both)
    assert calls == ["forward", "backward"]
    monkeypatch.setattr(heads, "library", lambda name: None)
    close(y, attend(attention(**options), **both), 2e-3)
    assert len(calls) == 2


def test_decoding_step_by_step(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module, found = attention(), []
    attend(module)
    module.eval()
    x = torch.randn(5, 2, 24)
    for load in (heads.library, lambda name: None):
        monkeypatch.setattr(heads, "library", load)
        kept: dict[str, Any] = {}
        with torch.no_grad():
            steps = [module(y, y, y, incremental_state=kept, need_weights=False)[0] for y in x.split(1)]
        found.append(torch.cat(steps))
    assert len(calls) == 2 + 5
    close(*found, 2e-3)


def test_same_masks_and_gradients_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, steps = attention(), attention()
    y = attend(whole)
    state = torch.get_rng_state()
    monkeypatch.setattr(heads, "library", lambda name: None)
    close(y, attend(steps), 2e-3)
    assert torch.equal(state, torch.get_rng_state())
    for (name, one), other in zip(whole.named_parameters(), steps.parameters(), strict=True):
        if name != "k_proj.bias":  # its gradient is 0, but for rounding: softmax does not see it
            close(one.grad, other.grad, 0.02)


def test_who_looks_gets_the_steps(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Looking:
        def quantized(self, *_: Any) -> None: ...
        def product(self, *_: Any) -> None: ...

    module = attention()
    with module.quantization.context.with_callback(Looking()):
        attend(module)
    attend(module, need_weights=True)
    handles: list[Callable[[], None]] = [
        part.register_forward_hook(lambda *_: None).remove
        for part in (module.qk_matmul, module.pv_matmul, module.dropout_module)
    ]
    attend(module)
    for remove in handles[1:]:
        remove()
    attend(module)
    handles[0]()
    for rules in (
        [{"match": "*query", "granularity": "token", "range": "minmax"}],
        [{"match": "*probs", "bits": 12}],
        [{"match": "*value", "rounding": "stochastic"}],
        [{"match": "*key", "range": "mse"}],
        [{"match": "*pv_matmul.grad_output", "grad_bits": 12}],
        [{"match": "*qk_matmul.grad_output", "quantize": False}],
        [{"match": "*key", "quantize": False}],
    ):
        attend(attention(rules=rules))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attend(module)
    monkeypatch.setattr(heads, "MIN_KERNEL_ELEMENTS", 2 * 3 * 7 * 7 + 1)
    attend(module)
    assert not calls
    monkeypatch.setattr(heads, "MIN_KERNEL_ELEMENTS", 1)
    attend(module)
    assert calls == ["forward", "backward"]


def test_costs_are_those_of_the_steps(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for load in (heads.library, lambda name: None):
        monkeypatch.setattr(heads, "library", load)
        module, meter = attention(), CostMeter(8)
        with module.quantization.context.with_callback(meter):
            attend(module)
        found.append(meter.by_path)
    assert len(calls) == 2 and found[0] == found[1]
    assert {"query", "key", "probs", "value", "qk_matmul.grad_output", "pv_matmul"} <= set(found[0])


def test_inference_mode_and_updates_of_a_layer_alone(calls: list[str]) -> None:
    module = attention()
    attend(module)
    with torch.inference_mode():
        x = torch.randn(7, 2, 24)
        module.eval()(x, x, x, need_weights=False)
    assert calls == ["forward", "backward", "forward"]
    case = Case()
    context: QuantizationContext = case.model.quantization.context
    context.counts_itself = True
    products = case.model.qk.quantizers, case.model.pv.quantizers
    before = context.update
    core.integer_attention(*products, *case.operands, None, 3, 1.0, None, 8)
    whole = context.update - before
    q, k, v = case.operands
    case.model.pv(case.model.qk(q, k.mT, 8), v, 8)
    assert context.update - before == 2 * whole == 4


def test_context_comes_with_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    case, found = Case(), []
    run = heads.Attention.run
    monkeypatch.setattr(heads.Attention, "run", lambda self, which: (run(self, which), found.append(self))[0])
    y = case.context().detach()
    ends = float(y.min()), float(y.max())
    assert (found[0].y_low, found[0].y_high) == ends
    module, seen = attention(), []
    module.out_proj.register_forward_pre_hook(
        lambda _, inputs: seen.append((minmax.cached_minmax(inputs[0]), inputs[0]))
    )
    attend(module)
    (noted, x) = seen[0]
    assert noted is not None and (noted[0], noted[1]) == (x.min(), x.max())


def test_ranges_that_are_known_are_not_looked_for() -> None:
    for wider in (1.0, 2.0):
        case = Case(seed=None)
        expected = case.run() if wider == 1 else None
        case.model.quantization.end_update(case.model)
        for x in case.operands:
            minmax.cache_minmax(x, wider * x.detach().min(), wider * x.detach().max())
        found = case.run()
        if expected is not None:
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        low, width = case.model.qk.quantizers.quantizer("left").observer.pending.flatten().tolist()
        q = case.operands[0].detach() * 0.3
        assert low == pytest.approx(wider * float(q.min())) and low + width == pytest.approx(wider * float(q.max()))


def test_levels_of_the_library_are_those_of_codes() -> None:
    case = Case(seed=None)
    record = case.context().grad_fn.record
    codes = input_codes(case.model.pv.quantizers.quantizer("right"), case.operands[2].detach(), 8).codes
    levels = record.v_qparams
    assert (levels.scale, levels.zero_point) == (float(codes.scale), int(codes.zero_point))
    assert decode(codes).max() <= levels.high + levels.scale


def test_few_queries_count_their_keys(monkeypatch):
    """A step of decoding has too few scores for the kernel, and keys enough."""
    monkeypatch.setattr(heads, "MIN_KERNEL_ELEMENTS", 2**16)
    keys = torch.zeros(640, 25, 64)
    assert heads.is_available(torch.zeros(640, 1, 64), keys, keys)
    assert heads.is_available(torch.zeros(640, 5, 64), keys, keys)
    few = keys[:16, :5]
    assert not heads.is_available(torch.zeros(16, 5, 64), few, few)
    assert not heads.is_available(torch.zeros(4, 1, 64), keys[:4], keys[:4])
