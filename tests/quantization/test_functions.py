"""Products called as functions inside a forward: found by one call, quantized as modules are, and nowhere else."""

import copy
import logging
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from fairseq.errors import ConfigError
from fairseq.quantization import MatMul, quantize_model, remove_quantization

EXACT = [{"match": "*", "range": "minmax"}, {"match": "*.grad_output", "grad_bits": 0}]
FORMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "matmul": (lambda a, b: a @ b, (2, 3, 4), (2, 4, 5)),
    "matmul, a matrix for all": (torch.matmul, (2, 2, 3, 4), (4, 5)),
    "matmul, broadcast": (Tensor.matmul, (2, 1, 3, 4), (3, 4, 5)),
    "matmul, a vector left": (torch.matmul, (4,), (2, 4, 5)),
    "matmul, a vector right": (torch.matmul, (2, 3, 4), (4,)),
    "matmul, vectors": (torch.matmul, (4,), (4,)),
    "mm": (lambda a, b: a.mm(mat2=b), (3, 4), (4, 5)),
    "bmm": (torch.bmm, (2, 3, 4), (2, 4, 5)),
    "mv": (torch.mv, (3, 4), (4,)),
    "dot": (torch.dot, (4,), (4,)),
    "addmm": (lambda a, b: torch.addmm(torch.ones(5), a, b, beta=2, alpha=0.5), (3, 4), (4, 5)),
    "addmv": (lambda a, b: torch.ones(3).addmv(a, b), (3, 4), (4,)),
    "baddbmm": (lambda a, b: torch.baddbmm(torch.tensor(torch.nan), a, b, beta=0), (2, 3, 4), (2, 4, 5)),
    "einsum": (lambda a, b: torch.einsum("bihd,bjhd->bhij", a, b), (2, 3, 2, 4), (2, 5, 2, 4)),
    "einsum, no arrow": (lambda a, b: torch.einsum("ij, jk", [a, b]), (3, 4), (4, 5)),
    "linear": (lambda a, b: F.linear(a, b, torch.ones(5)), (2, 3, 4), (5, 4)),
}


class Calls(nn.Module):
    """A module whose forward is a function."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function, self.fc = function, nn.Linear(2, 2)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor, fused: bool = False) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if fused:
            return F.scaled_dot_product_attention(q, k, v)
        return (q @ k.mT / 8**0.5).softmax(-1) @ v


class Model(nn.Module):
    """Two attentions, one of which calls the other: an owner of functions inside an owner."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Attention(), Attention()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x)
        return self.second(x) + x * x @ self.second.v.weight


def modes() -> int:
    return len(_get_current_function_mode_stack())


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 5, 8)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_product(form: str) -> None:
    function, *shapes = FORMS[form]
    a, b = (torch.randn(shape, requires_grad=True) for shape in shapes)
    expected = function(a, b)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (a, b), weights)

    model = quantize_model(Calls(function), "int16", rules=EXACT, example_inputs=(a, b))
    name = form.partition(",")[0]
    assert f"{name}.grad_output" in model.quantization.plan
    fine, coarse = model(a, b), model(a, b, num_bits=2)
    torch.testing.assert_close(fine, expected, atol=2e-3, rtol=2e-3)
    for got, right in zip(torch.autograd.grad(fine, (a, b), weights), wanted, strict=True):
        torch.testing.assert_close(got, right, atol=2e-3, rtol=2e-3)
    assert (coarse - expected).abs().max() > 0.01 and torch.equal(model(a, b, num_bits=0), expected)


def test_a_function_is_quantized_as_the_module_is(x: Tensor) -> None:
    class ByModule(Attention):
        def __init__(self) -> None:
            super().__init__()
            self.qk, self.pv = MatMul("query", "key"), MatMul("probs", "value")

        def forward(self, x: Tensor, fused: bool = False) -> Tensor:
            q, k, v = self.q(x), self.k(x), self.v(x)
            return self.pv((self.qk(q, k.mT) / 8**0.5).softmax(-1), v)

    rules = [{"match": "*.grad_output", "rounding": "nearest"}]
    for compute in ("simulate", "integer"):
        results = []
        for kind, given in ((ByModule, None), (Attention, (x,)), (Attention, {"x": x, "fused": True})):
            torch.manual_seed(3)
            model = quantize_model(kind(), "int8", rules=rules, compute=compute, example_inputs=given)
            y = model(x, fused=isinstance(given, dict))
            y.square().sum().backward()
            results.append([y, *(p.grad for p in model.parameters())])
        for other in results[1:]:
            for got, right in zip(other, results[0], strict=True):
                torch.testing.assert_close(got, right, atol=1e-5, rtol=1e-5)


def test_rows_rules_and_removal(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    model = Model()
    keys, expected = list(model.state_dict()), model(x)
    model = quantize_model(model, "int8", example_inputs=x)
    paths = [row.quantizer for row in model.quantization.plan.rows]
    assert [path for path in paths if path.endswith(".left")] == [
        "matmul.left", "first.matmul.left", "first.matmul_1.left", "second.matmul.left", "second.matmul_1.left"
    ]  # fmt: skip
    assert not [path for path in paths if path.split(".")[-2] in ("add", "mul") or path.endswith(".output")]
    assert list(model.state_dict()) == keys
    model(x).sum().backward()
    assert not caplog.records  # nothing is left out, nothing unused
    off = quantize_model(model, "int8", example_inputs=x, rules=[{"match": "second.matmul*", "quantize": False}])
    assert list(off.second.children()) == [off.second.q, off.second.k, off.second.v]
    with pytest.raises(ConfigError, match=r"nearest is 'first\.matmul_1\.left'"):
        quantize_model(model, "int8", example_inputs=x, rules=[{"match": "first.matmul_3.left", "bits": 4}])
    model = remove_quantization(model)
    assert torch.equal(model(x), expected) and "forward" not in vars(model.first) | vars(model)
    assert not [name for name, _ in model.named_modules() if "function" in name]


def test_products_that_rules_leave_alone_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Attention is one function and two products: their rows are in the plan when weights alone are rounded."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(self.q(x), x, x) @ x.mT

    batch = torch.randn(2, 5, 8)
    quantize_model(Attention(), "w4", example_inputs=batch)(batch)
    assert not caplog.records


def test_without_an_example_the_warning_names_it(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    model = quantize_model(Model(), "int8")
    model(x)
    assert "give quantize_model example_inputs" in caplog.text


def test_sums_are_rounded_where_a_rule_names_them(x: Tensor) -> None:
    def sums(x: Tensor) -> Tensor:
        y = 1 + x  # numbers and masks do not count
        y = y * (x > 0)
        y += x  # in place
        return y + 3 * x

    class Sums(Calls):
        def forward(self, x: Tensor) -> Tensor:
            return self.function(x) * self.fc.weight[0, 0]

    wide = {"match": "*", "bits": 4}
    assert "add.left" not in quantize_model(Sums(sums), "int8", example_inputs=x, rules=[wide]).quantization.plan
    rules = [{"match": "add*", "bits": 2, "format": "symmetric", "range": "minmax"}]
    model = quantize_model(Sums(sums), "int8", example_inputs=x, rules=rules)
    assert [row.quantizer for row in model.quantization.plan.active if row.quantizer.startswith("add")] == [
        "add.left", "add.right", "add.output", "add_1.left", "add_1.right", "add_1.output"
    ]  # fmt: skip
    y = model(x.requires_grad_())
    assert torch.unique(y).numel() == 3
    y.sum().backward()
    inside = (x > 0).float() + 4
    torch.testing.assert_close(x.grad, inside * model.fc.weight[0, 0].detach())


def test_the_call_leaves_no_trace(x: Tensor) -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fc, self.calls, self.cache = nn.BatchNorm1d(8), nn.Linear(8, 8), 0, {}
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen += 1
            self.cache["x"] = x
            noise = torch.rand(()) + random.random()
            return self.norm(self.fc(x) @ x.mT @ x * noise)

    model = Stateful()
    model.fc.eval()
    before, python, drawn = copy.deepcopy(model.state_dict()), random.getstate(), torch.get_rng_state()
    model = quantize_model(model, "int8", example_inputs=(x[0],))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert (model.calls, model.cache, model.training, model.fc.training) == (0, {}, True, False)
    assert random.getstate() == python and torch.equal(torch.get_rng_state(), drawn)


def test_an_example_that_does_not_fit(x: Tensor) -> None:
    with pytest.raises(ConfigError, match="cannot be called with example_inputs: RuntimeError: mat1 and mat2"):
        quantize_model(Model(), "int8", example_inputs=torch.randn(2, 3))
    model = Model()
    model.lock = threading.Lock()
    with pytest.raises(ConfigError, match="cannot be copied for the call with example_inputs: TypeError"):
        quantize_model(model, "int8", example_inputs=x)


OBSTACLES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "einsum": (lambda x: torch.einsum("bij,bkj,bkl->bil", x, x, x), "it has 3 operands"),
    "einsum, outer": (lambda x: torch.einsum("bij,bkj->bikj", x, x), "it sums over no index"),
    "einsum, lone": (lambda x: torch.einsum("bij,bkj->bk", x, x), "it sums over an index of one operand alone"),
    "einsum, dots": (lambda x: torch.einsum("...ij,...kj->...ik", x, x), "its equation has an ellipsis"),
    "matmul": (lambda x: (x > 0).long() @ torch.ones(8, 1, dtype=torch.long), "an operand is of int64"),
    "bmm": (lambda x: torch.bmm(x, x.mT, out=torch.empty(2, 5, 5)), "it is given a tensor or a type for its result"),
    "baddbmm": (lambda x: x.clone().baddbmm_(x @ x.mT, x), "it works in place"),
    "conv1d": (lambda x: F.conv1d(x.mT, torch.ones(1, 8, 1)), "it has no quantizers"),
}  # fmt: skip


@pytest.mark.parametrize("case", OBSTACLES)
def test_what_cannot_be_quantized_is_named_with_the_reason(
    case: str, x: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    function, reason = OBSTACLES[case]
    name = case.partition(",")[0]
    model = quantize_model(nn.ModuleDict({"block": Calls(function)})["block"], "int8", example_inputs=x)
    assert f"{name} ({reason}" in caplog.text and model.quantization.plan[name].kind == f"function {name}"
    caplog.clear()
    assert torch.equal(model(x), function(x)) or case == "baddbmm"
    assert name not in caplog.text  # said once
    with pytest.raises(ConfigError, match=f"'{name}' is a function {name}, which stays in full precision"):
        quantize_model(model, "int8", example_inputs=x, rules=[{"match": f"{name}*", "bits": 4}])


def test_a_container_keeps_its_parts(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    class Chain(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) @ x.mT

    model = quantize_model(Chain(nn.Linear(8, 8), nn.ReLU()), "int8", example_inputs=x)
    assert len(model) == 2 and "matmul (a Chain would call their quantizers" in caplog.text


def test_names_of_children_are_not_taken_twice(x: Tensor) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matmul = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.matmul(x) @ x.mT

    plan = quantize_model(Named(), "int8", example_inputs=x).quantization.plan
    assert "matmul.weight" in plan and "matmul_1.left" in plan and "matmul.left" not in plan


# --- scaled_dot_product_attention -----------------------------------------------------------------------------------

HIDDEN = torch.ones(5, 6, dtype=torch.bool)
HIDDEN[2] = False  # a query that sees no key
HIDDEN[0, 3:] = False
ARGUMENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "boolean": {"attn_mask": HIDDEN},
    "numbers": {"attn_mask": torch.randn(2, 1, 5, 6)},
    "scale": {"scale": 0.1},
    "groups": {"enable_gqa": True},
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_attention_as_torch_has_it(case: str) -> None:
    kwargs = ARGUMENTS[case]
    groups = 2 if case == "groups" else 4
    q, k, v = (
        torch.randn(2, heads, length, 8, requires_grad=True) for heads, length in ((4, 5), (groups, 6), (groups, 6))
    )
    expected = F.scaled_dot_product_attention(q, k, v, **kwargs)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (q, k, v), weights)
    model = quantize_model(
        Calls(lambda *args: F.scaled_dot_product_attention(*args, **kwargs)),
        "int16", rules=[*EXACT, {"match": "*.output", "quantize": True}], example_inputs=(q, k, v),
    )  # fmt: skip
    fine = model(q, k, v)
    torch.testing.assert_close(fine, expected, atol=2e-3, rtol=2e-3)
    for got, right in zip(torch.autograd.grad(fine, (q, k, v), weights), wanted, strict=True):
        torch.testing.assert_close(got, right, atol=3e-3, rtol=3e-3)
    assert (model(q, k, v, num_bits=2) - expected).abs().max() > 0.01
    assert torch.equal(model(q, k, v, num_bits=0), expected)
    active = [row.quantizer.rpartition(".")[2] for row in model.quantization.plan.active if "scaled" in row.quantizer]
    assert sorted(active) == ["key", "output", "probs", "query", "value"]


def test_dropout_and_masks_that_torch_refuses(x: Tensor) -> None:
    def attend(x: Tensor, **kwargs: Any) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, **kwargs)

    model = quantize_model(Calls(attend), "int8", example_inputs=x)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(model(x, dropout_p=0.5))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert torch.equal(model(x, dropout_p=1.0), torch.zeros_like(x))
    with pytest.raises(RuntimeError, match="is_causal"):
        model(x, attn_mask=torch.zeros(5, 5), is_causal=True)


# --- where it is intercepted ----------------------------------------------------------------------------------------


def test_another_order_is_an_error_that_names_the_module(x: Tensor) -> None:
    class Some(Attention):
        calls = 2

        def forward(self, x: Tensor, fused: bool = False) -> Tensor:
            for _ in range(self.calls):
                x = x @ x.mT @ x if self.calls < 4 else x.bmm(x.mT.bmm(x))
            return x

    model = nn.Sequential(nn.Linear(8, 8), Some())
    model = quantize_model(model, "int8", example_inputs=x)
    model(x)
    for calls, said in ((1, "calls matmul, matmul,"), (3, r"calls (matmul, ){5}"), (4, "calls bmm,")):
        model[1].calls = calls
        with pytest.raises(ConfigError, match=rf"1 \(Some\): its forward {said}") as error:
            model(x)
        assert "\n" not in str(error.value) and modes() == 0
    model[1].calls = 2
    model(x)


def test_arguments_that_change_are_an_error(x: Tensor) -> None:
    model = quantize_model(Calls(torch.matmul), "int8", example_inputs=(x, x.mT))
    with pytest.raises(ConfigError, match="matmul: cannot be quantized in this call: an operand is of int64"):
        model(x.long(), x.mT.long())


def test_calls_outside_are_left_alone(x: Tensor) -> None:
    model = quantize_model(Model(), "int4", example_inputs=x)

    class Ordinary(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.mT

    ordinary, seen = Ordinary(), []
    model.first.q.register_forward_hook(lambda *_: seen.append((ordinary(x), x @ x.mT)))
    model(x)
    assert all(torch.equal(each, x @ x.mT) for pair in seen for each in pair) and seen and modes() == 0


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_interrupt_leaves_no_mode(kind: type[BaseException], x: Tensor) -> None:
    model = quantize_model(Model(), "int8", example_inputs=x)
    model(x)
    y = model.eval()(x)

    def stop(*_: Any) -> None:
        raise kind

    handle = model.second.k.register_forward_hook(stop)
    with pytest.raises(kind):
        model(x)
    handle.remove()
    assert modes() == 0 and torch.equal(model(x), y)


def test_copies_pickles_types_and_strict_loading(x: Tensor) -> None:
    model = quantize_model(Model(), "int8", example_inputs=x)
    model(x).sum().backward()
    model.quantization.end_update(model)
    y = model.eval()(x)
    loaded = quantize_model(Model(), "int8", example_inputs=x).eval()
    loaded.load_state_dict(model.state_dict(), strict=True)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model), loaded):
        assert torch.equal(other(x), y) and not torch.equal(other(x, num_bits=2), y)
    remove_quantization(copy.deepcopy(model))
    assert torch.equal(model(x), y)
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert model.float()(x).isfinite().all()


def test_each_thread_has_its_own(x: Tensor) -> None:
    model = quantize_model(Model(), "int8", example_inputs=x).train()
    model(x).sum().backward()
    model.quantization.end_update(model)
    model.eval()
    expected = {bits: model(x, num_bits=bits) for bits in (0, 3, 8)}
    wrong: list[int] = []

    def run(bits: int) -> None:
        wrong.extend(bits for _ in range(20) if not torch.equal(model(x, num_bits=bits), expected[bits]))

    threads = [threading.Thread(target=run, args=(bits,)) for bits in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_module_is_recomputed_alike(reentrant: bool, x: Tensor) -> None:
    class Checkpointed(Model):
        saves = False

        def forward(self, x: Tensor) -> Tensor:
            x = x @ x.mT @ x
            return checkpoint(self.first, x, use_reentrant=reentrant) if self.saves else self.first(x)

    grads = []
    for saves in (False, True):
        torch.manual_seed(2)
        model = quantize_model(Checkpointed(), "int4", example_inputs=x)
        model.saves = saves
        inputs = x.clone().requires_grad_()
        model(inputs).square().sum().backward()
        grads.append([inputs.grad, *(p.grad for p in model.first.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_part_that_is_checkpointed_is_an_error(x: Tensor) -> None:
    def part(x: Tensor) -> Tensor:
        return checkpoint(lambda x: x @ x.mT, x, use_reentrant=False)

    model = quantize_model(Calls(part), "int8", example_inputs=x)
    model.quantization.calibrate(model, [x])
    model.eval()(x)
    with pytest.raises(ConfigError, match=r"the model \(Calls\): activation checkpointing of a part"):
        model.train()(x)


def test_compiling_and_exporting_give_the_same_numbers(x: Tensor) -> None:
    model = quantize_model(Attention(), "int8", example_inputs=x)
    model(x).sum().backward()
    y = model.eval()(x)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), y, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), y, atol=1e-6, rtol=0)
    torch.compiler.reset()


def test_products_are_counted_at_any_bits(x: Tensor) -> None:
    from fairseq.quantization.analysis.bitops import CostMeter

    model = quantize_model(Attention(), "int8", example_inputs={"x": x, "fused": True})
    model.quantization.calibrate(model, [{"x": x, "fused": True}])
    model.eval()
    costs = {}
    for bits in (8, 0):
        with torch.no_grad(), CostMeter(8).counting(model, model.quantization.context) as meter:
            model(x, fused=True, num_bits=bits)
        costs[bits] = meter.by_path
    for part in ("qk_matmul", "pv_matmul"):
        path = f"scaled_dot_product_attention.{part}"
        assert costs[8][path].quantized == 2 * 5 * 5 * 8 * 64 and costs[0][path].full == 2 * 5 * 5 * 8 * 32 * 32


def test_training_and_its_log(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    torch.manual_seed(1)
    model = quantize_model(Model(), "int8", example_inputs=x)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for _ in range(8):
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and not caplog.records
