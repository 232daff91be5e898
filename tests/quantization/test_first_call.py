"""Everything that multiplies has a row in the plan; what a call passes by is named, once."""

import contextlib
import copy
import logging
import sys
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from fairseq.errors import ConfigError
from fairseq.quantization import MatMul, keep_integer_weights, quantize_model
from tests.quantization.layer_registry import RareCell


class Own(nn.Module):
    """A model as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(8, 8, 3, padding=1), nn.LSTM(8, 8, batch_first=True)
        self.own, self.cell = RareCell(8), nn.GRUCell(8, 8)
        self.query, self.key, self.out = (nn.Linear(8, 8) for _ in range(3))
        self.block = Block()

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(self.conv(x.mT).mT)
        x = self.own(x) + self.cell(x.flatten(0, 1)).view_as(x)
        scores = self.query(x) @ F.linear(x, self.key.weight).mT
        return self.out(scores.softmax(-1) @ x) + self.block(x)


class Block(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return helper(x) + torch.einsum("bik,bjk,bjl->bil", x, x, x)


def helper(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 5, 8)


def test_everything_that_multiplies_has_a_row(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    model = quantize_model(Own(), "int8")
    plan = model.quantization.plan
    kinds = {row.quantizer: row.kind for row in plan.rows if row.kind}
    assert kinds == {"own": "RareCell"}
    (line,) = lines(caplog)
    assert "1 RareCell (own)" in line
    model(x).sum().backward()
    functions = {row.quantizer: row.kind for row in plan.rows if row.kind.startswith("function")}
    assert functions == {
        "matmul": "function matmul",
        "linear": "function linear",
        "block.scaled_dot_product_attention": "function scaled_dot_product_attention",
        "block.einsum": "function einsum",
    }
    by_function, unused = lines(caplog)
    assert "scaled_dot_product_attention and einsum in block" in by_function and "nn.Linear" in by_function
    assert "not used in the first call: key;" in unused
    model(x).sum().backward()
    assert not lines(caplog) and len(plan.rows) == len(kinds) + 24 + len(functions)
    for name in (*kinds, *functions):
        assert any(line.startswith(name) and "full precision (" in line for line in str(plan).splitlines())
    assert {"quantizer": "own", "role": "product", "bits": None, "kind": "RareCell"} in plan.as_dicts()


def test_hooks_and_modes_are_gone_after_the_first_call(x: Tensor) -> None:
    model = quantize_model(Own(), "int8")
    model(x)
    assert not model._forward_hooks and len(model._forward_pre_hooks) == 1
    assert not _get_current_function_mode_stack() and not model.quantization.context.callbacks


def test_results_are_the_same_with_and_without_watching(x: Tensor) -> None:
    watched = quantize_model(Own(), "int8")
    plain = copy.deepcopy(watched)
    for handle in plain.quantization.hooks[-2:]:
        handle.remove()
    for _ in range(2):
        results = []
        for model in (watched, plain):
            model.zero_grad()
            y = model(x)
            y.square().sum().backward()
            results.append([y, *(p.grad for p in model.parameters() if p.grad is not None)])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len(watched.quantization.plan.rows) > len(plain.quantization.plan.rows)


def test_kernels_are_not_compiled_under_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be compiled once more without it."""
    from fairseq.native import compiled
    from fairseq.quantization.watched_call import FunctionMode

    kernel = compiled.kernel(lambda x: x + 1)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda x: x + 2)
    monkeypatch.setattr(compiled.compiler(), "break_even", 0)
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 0)
    with FunctionMode():
        assert kernel(torch.zeros(1)) == 1
    assert kernel(torch.zeros(1)) == 2


def test_nothing_is_said_of_a_model_that_is_quantized_in_whole(
    transformer: nn.Module, tokens: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [{"match": "embed.weight", "quantize": True, "granularity": "channel"}]
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for compute in ("simulate", "integer"):
        model = quantize_model(copy.deepcopy(transformer), "int8", rules=rules, compute=compute)
        rows = len(model.quantization.plan.rows)
        model(tokens)
        packed = keep_integer_weights(copy.deepcopy(quantize_model(model, "int8", rules=rules)))
        packed.quantization.calibrate(packed, [tokens])
        layer = quantize_model(copy.deepcopy(attention), "int8", compute=compute)
        layer(torch.randn(2, 3, 8)).sum().backward()
        assert len(model.quantization.plan.rows) == rows
    assert not lines(caplog)


def test_a_part_in_full_precision_by_rule_is_no_surprise(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.head, self.product = nn.Linear(8, 8), nn.Linear(8, 8), MatMul()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.product(self.head(self.fc(x)), self.attention(x, x, x)[0].mT)

    off = [{"match": name, "quantize": False} for name in ("head.*", "attention.*", "left", "right")]
    model = quantize_model(Products(), "int8", rules=off)
    model(x)
    assert not lines(caplog) and not any(row.kind for row in model.quantization.plan.rows)


def test_a_call_in_full_precision_is_not_the_first(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(8, 8), Block()), "int8")
    with model.quantization.context.full_precision():
        model(x)
    model(x, num_bits=0)
    assert not lines(caplog)
    model(x)
    assert len(lines(caplog)) == 1


def test_a_call_that_fails_or_is_interrupted_is_not_the_first(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(nn.Module):
        error: Any = None

        def forward(self, x: Tensor) -> Tensor:
            if self.error is not None:
                raise self.error
            return x

    failing = Failing()
    model = quantize_model(nn.Sequential(nn.Linear(8, 8), failing, nn.Linear(8, 8), Block()), "int8")
    for error in (ValueError, KeyboardInterrupt):
        failing.error = error
        with pytest.raises(error):
            model(x)
    failing.error = None
    model.quantization.context.leave() if model.quantization.context.in_call else None
    assert not lines(caplog)
    model(x)
    assert ["einsum" in line for line in lines(caplog)] == [True]
    assert not _get_current_function_mode_stack() and not model.quantization.context.callbacks


@pytest.mark.parametrize("line", range(5, 700, 23))
def test_an_interrupt_at_any_line_leaves_nothing_behind(line: int, x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(8, 8), Block()), "int8")
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "line" and "fairseq" in frame.f_code.co_filename:
            count += 1
            if count == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    tracer = sys.gettrace()  # a coverage tool's
    try:
        sys.settrace(trace)
        with contextlib.suppress(KeyboardInterrupt):
            model(x)
    finally:
        sys.settrace(tracer)
        torch.set_grad_enabled(True)  # an interrupt just before the end of a `with torch.no_grad()` skips that
    while model.quantization.context.in_call:
        model.quantization.context.leave()
    model(x)
    assert [row.quantizer for row in model.quantization.plan.rows if row.kind] == [
        "1.scaled_dot_product_attention",
        "1.einsum",
    ]
    assert len(lines(caplog)) <= 1  # none where the interrupt came after it
    assert not _get_current_function_mode_stack() and not model.quantization.context.callbacks


def test_calls_of_other_threads_are_not_mixed_in(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                assert go_on.wait(30)
            return x

    model = quantize_model(nn.Sequential(nn.Linear(8, 8), Waiting(), nn.Linear(8, 8), Block()), "int8")
    thread = threading.Thread(target=lambda: model(x))
    thread.start()
    assert inside.wait(30)
    model(x)  # begins and ends while the watched call is under way
    go_on.set()
    thread.join()
    assert ["einsum" in line for line in lines(caplog)] == [True]
    assert not _get_current_function_mode_stack()


def test_a_thread_that_died_in_its_call_does_not_keep_others_from_watching(
    x: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    class Dying(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                raise SystemExit
            return x

    model = quantize_model(nn.Sequential(nn.Linear(8, 8), Dying(), Block()), "int8")

    def call() -> None:
        with contextlib.suppress(SystemExit):
            model(x)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    model.quantization.context.leave() if model.quantization.context.in_call else None
    model(x)
    assert ["einsum" in line for line in lines(caplog)] == [True]
    assert not model.quantization.context.callbacks


def test_bert_of_transformers(caplog: pytest.LogCaptureFixture) -> None:
    transformers = pytest.importorskip("transformers")
    for implementation, functions in (("eager", {"matmul"}), ("sdpa", {"scaled_dot_product_attention"})):
        config = transformers.BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50
        )
        config._attn_implementation = implementation
        model = quantize_model(transformers.BertModel(config), "int8")
        caplog.clear()
        with caplog.at_level(logging.WARNING, "fairseq"):
            model(input_ids=torch.randint(0, 50, (2, 7)))
        rows = {row.quantizer for row in model.quantization.plan.rows if row.kind.startswith("function")}
        expected = {f"encoder.layer.{n}.attention.self.{name}" for n in range(2) for name in functions}
        assert rows == expected
        assert "encoder.layer.0.attention.self" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear(2, 2), 8), "needs a preset's name, such as 'int8', or a mapping of settings, got 8"),
        ((nn.Linear(2, 2), ["int8"]), r"got \['int8'\]"),
        (("bert-base-uncased", "int8"), r"the model must be an nn.Module, got 'bert-base-uncased' \(str\)"),
        ((nn.Linear, "int8"), "Linear is a class; give a model made from it"),
        (
            (nn.Sequential(nn.LazyLinear(3)), "int8"),
            r"0 \(LazyLinear\) has no parameters yet; call the model on a batch",
        ),
        (
            (nn.Sequential(RareCell(1), nn.ReLU()), "int8"),
            "only 1 RareCell and 1 ReLU; what can be .*nn.Linear",
        ),
        (
            (nn.Sequential(nn.Embedding(2, 2)), "int8"),
            "rules exclude all 1 .* 0.weight first; .*quantize: true",
        ),
    ],
)
def test_refusals_are_one_clear_line(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        quantize_model(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": "*"}, "rules: needs a list"),
        ({"rules": {"match": "*"}}, "rules: needs a list"),
        ({"rules": 4}, "rules: needs a list"),
        ({"schedule": 8}, "schedule: needs a name"),
        ({"schedule": {"name": "CR", "options": [1]}}, "schedule.options: needs a mapping"),
        ({"schedule": {"name": "CR", "min_bits": "4"}}, "min_bits: must be a whole number or null, got '4'"),
        ({"num_bits": "8"}, "num_bits: must be a whole number or null, got '8'"),
        ({"num_grad_bits": "8"}, "num_grad_bits: must be a whole number or null"),
        ({"seed": "one"}, "seed: must be a whole number"),
        ({"rules": [{"match": "1.*", "bits": 4}]}, "'1' is a RareCell, which stays in full precision"),
    ],
)
def test_settings_of_another_type_are_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        quantize_model(nn.Sequential(nn.Linear(2, 2), RareCell(1)), "int8", **changes)
    assert "\n" not in str(error.value)


def test_a_lazy_module_that_has_seen_a_batch_is_quantized() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    model(torch.randn(1, 2))
    assert len(quantize_model(model, "int8").quantization.plan.active) == 3


def test_a_registered_kind_is_found_everywhere() -> None:
    """A new kind of layer is one class and one registration."""
    from fairseq.quantization.analysis.report import report
    from fairseq.quantization.layers import LinearQuantizers
    from fairseq.quantization.plan.target import TARGETS, QuantizationTarget, register_target, retype
    from fairseq.quantization.spec import ACTIVATION, GRADIENT, WEIGHT

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight)

    class QScaled(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            return self.quantizers(x, self.weight, None, None)  # type: ignore[no-any-return]

    @register_target(Scaled)
    class ScaledTarget(QuantizationTarget):
        supports = "Scaled"
        keeps_codes = True

        def __init__(self, path: str, module: nn.Module):
            super().__init__(path, module)
            roles = {"weight": WEIGHT, "input": ACTIVATION, "grad_output": GRADIENT}
            self.quantizers = {key: (f"{path}.{key}", role) for key, role in roles.items()}

        def install(self, specs: Any, step: Any, calibration_bits: int) -> nn.Module:
            layer = retype(self.module, QScaled)
            layer.quantizers = LinearQuantizers(self.path, layer.weight, self.own(specs), step, calibration_bits)
            return layer  # type: ignore[no-any-return]

        def weights(self) -> Any:
            return [(self.module.quantizers.quantizer("weight"), self.module.weight)]  # type: ignore[union-attr, operator]

    try:
        model = quantize_model(nn.Sequential(Scaled()), "int4", rules=[{"match": "0.input", "quantize": False}])
        assert [row.quantizer for row in model.quantization.plan.active] == ["0.weight", "0.grad_output"]
        assert report(model)[0].codes_used > 50  # type: ignore[operator]
        x = torch.randn(3, 4)
        y = model.eval()(x)
        assert torch.equal(keep_integer_weights(model)(x), y) and model[0].quantizers.integers is not None
    finally:
        del TARGETS[Scaled]


def test_products_of_a_forward_that_does_not_say_self_are_seen(x: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    class Short(nn.Module):
        def __init__(this) -> None:
            super().__init__()
            this.fc = nn.Linear(8, 8)

        def forward(m, x: Tensor) -> Tensor:
            return m.fc(x) @ x.mT

    assigned = Short()
    assigned.forward = lambda x: F.linear(assigned.fc(x), x[0])  # type: ignore[method-assign]
    for model, function in ((Short(), "matmul"), (assigned, "linear")):
        quantized = quantize_model(model, "int8")
        quantized(x)
        assert [row.quantizer for row in quantized.quantization.plan.rows if row.kind] == [function]
        assert [f"{function} in the model" in line for line in lines(caplog)] == [True]


@pytest.mark.parametrize("num_bits", ["8", -1, 2.5, [8]])
def test_bits_of_a_call_that_are_no_number_are_one_clear_line(num_bits: Any, x: Tensor) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(8, 8)), "int8")
    with pytest.raises(ConfigError, match=r"num_bits of a call must be a whole number, 0 .*got"):
        model(x, num_bits=num_bits)
    with pytest.raises(ConfigError, match=r"0.input: 99 bits; .* num_bits=0 for a call"):
        model(x, num_bits=99)
