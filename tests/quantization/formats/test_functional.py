"""One tensor in one line, and formats as names or mappings wherever settings are read."""

import json

import pytest
import torch
from torch import nn

from fairseq.checkpoint.packed import read_packed
from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize, quantize_model, read_plan
from fairseq.quantization.formats import FORMATS, build_format
from fairseq.quantization.integer_weights import keep_integer_weights, pack_weights
from fairseq.quantization.plan.config import read_config
from tests.quantization.formats.tools import bits_of

NAMES = list(FORMATS)
FAMILIES = [name for name in NAMES if isinstance(FORMATS.lookup(name), type)]
E2M4 = {"format": "minifloat", "exponent_bits": 2, "mantissa_bits": 4, "top": "fn"}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_says_what_it_is(name: str) -> None:
    number_format = build_format(name)
    num_bits = bits_of(number_format)
    values = number_format.values(num_bits)
    assert (values.diff() > 0).all() and len(values) == number_format.num_levels(num_bits)
    assert values[-1] == number_format.max_value(num_bits)
    assert len(values) <= 2 ** number_format.code_bits(num_bits)
    assert number_format.bits_per_value(num_bits, 64) >= number_format.code_bits(num_bits)
    assert {"zero", "overflow", "infinity", "NaN"} <= set(number_format.special_values())
    again = build_format(number_format.spec())
    assert again == number_format and again.spec() == number_format.spec() and json.dumps(number_format.spec())
    if name not in FAMILIES:
        assert number_format.spec() == str(number_format) == name


@pytest.mark.parametrize("name", NAMES)
def test_every_format_takes_every_shape(name: str) -> None:
    num_bits = bits_of(build_format(name))
    for shape in ((7,), (3, 7), (2, 3, 7), (2, 3, 4, 7), (1,), (1, 1), (), (0, 7)):
        for x in (torch.randn(shape), torch.zeros(shape), torch.full(shape, 0.75)):
            for dtype in (torch.float32, torch.bfloat16):
                given = x.detach().clone().to(dtype).requires_grad_()
                y = fake_quantize(given, name, num_bits=num_bits)
                assert y.shape == x.shape and y.dtype == dtype and y.isfinite().all()
                y.float().square().sum().backward()
                assert given.grad is not None and given.grad.shape == x.shape and given.grad.isfinite().all()
    x = torch.randn(4, 6, 5)
    by_column = fake_quantize(x.movedim(1, -1), name, num_bits=num_bits).movedim(-1, 1)
    assert torch.equal(fake_quantize(x, name, dim=1, num_bits=num_bits), by_column)


def test_settings_are_told_in_the_shortest_way() -> None:
    full = {"format": "minifloat", "exponent_bits": 3, "mantissa_bits": 2, "bias": None, "top": "numbers"}
    assert build_format(full).spec() == "fp6_e3m2" and build_format(full) == build_format("fp6_e3m2")
    assert build_format(E2M4).spec() == E2M4
    assert str(build_format(E2M4)) == "minifloat(exponent_bits=2, mantissa_bits=4, top=fn)"
    changed = build_format({"format": "fp8_e5m2", "saturating": False})
    assert changed.spec() == "fp8_e5m2_ieee"


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("fp8_e4m33", "fake_quantize: unknown number format 'fp8_e4m33'; did you mean 'fp8_e4m3'"),
        ({"format": "minifloats"}, "did you mean 'minifloat'"),
        ({"exponent_bits": 3}, "a number format is a name"),
        ({"format": "fp8_e4m3", "widht": 3}, "fake_quantize: format fp8_e4m3: unknown option 'widht'"),
        (8, "a number format is a name"),
    ],
)
def test_unknown_formats_are_one_line(format: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        fake_quantize(torch.ones(2), format)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_wrong_tensors_and_settings_are_one_line() -> None:
    for call, message in (
        (lambda: fake_quantize(torch.ones(2, dtype=torch.int64), "fp8_e4m3"), "got torch.int64"),
        (lambda: fake_quantize([1.0], "fp8_e4m3"), r"got list; convert it by torch\.as_tensor"),  # type: ignore[arg-type]
        (lambda: fake_quantize(torch.ones(2), "symmetric"), "2 to 16 bits; say how many by num_bits="),
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", num_bits=4), "num_bits=4, .* fp8_e4m3 has 8 bits"),
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", dim=1), "dim 1 does not exist"),
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", scale=0.0), "scale must be above 0"),
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", scale=float("inf")), "scale must be above 0 and finite"),
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", scale="1"), "scale must be a number"),  # type: ignore[arg-type]
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", scale=torch.ones(3)), r"shape \(3,\) does not fit x"),
        (lambda: fake_quantize(torch.ones(2), "fp8_e4m3", scale=torch.ones(1, 2)), r"shape \(1, 2\) does not fit x"),
        (lambda: fake_quantize(torch.ones(2), "mxfp4", dim=(0,)), r"one axis, got \(0,\)"),  # type: ignore[arg-type]
        (lambda: fake_quantize(torch.ones(2), "affine", scale=0.1, num_bits=8), "the format affine takes no scale"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def _gradient(x: torch.Tensor, *settings: object, **more: object) -> list[float]:
    x = x.clone().requires_grad_()
    fake_quantize(x, *settings, **more).sum().backward()  # type: ignore[arg-type]
    assert x.grad is not None
    return x.grad.tolist()  # type: ignore[no-any-return]


def test_gradient_is_the_one_asked_for_with_a_given_scale_too() -> None:
    x = torch.tensor([0.3, -0.74, 9.0])
    assert _gradient(x, "symmetric", scale=0.5, num_bits=4) == [1.0, 1.0, 1.0]
    assert _gradient(x, "symmetric", scale=0.5, num_bits=4, ste="clipped") == [1.0, 1.0, 0.0]
    scale = torch.tensor([1.0, 0.1, 2.0])  # the largest value of e2m1 is 6
    assert _gradient(x, "fp4_e2m1", scale=scale, ste="clipped") == [1.0, 0.0, 1.0]
    assert _gradient(x, "fp4_e2m1", ste="clipped") == [1.0, 1.0, 0.0]
    slope = 1 - torch.tanh(x / 0.5).square()
    assert _gradient(x, "binary", scale=0.5, ste="tanh") == pytest.approx(slope.tolist())


@pytest.mark.parametrize("more", [{}, {"scale": 0.5}])
@pytest.mark.parametrize(
    ("ste", "message"),
    [("cliped", "unknown ste 'cliped' in fake_quantize"), ("tanh", "fake_quantize: ste tanh is for")],
)
def test_gradients_that_cannot_be(ste: str, message: str, more: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=message):
        fake_quantize(torch.ones(3, requires_grad=True), "fp8_e4m3", ste=ste, **more)  # type: ignore[arg-type]


def test_scale_of_an_integer_grid() -> None:
    x = torch.tensor([0.3, -0.74, 9.0])
    y = fake_quantize(x, "symmetric", scale=0.5, num_bits=4)
    assert y.tolist() == [0.5, -0.5, 3.5]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3))


RULES = [
    {"match": "0.weight", "format": "fp4_e2m1", "bits": 4},
    {"match": "2.weight", "format": E2M4, "bits": 7},
    {"match": "*.input", "format": {"format": "fixed_point", "width": 8, "frac_width": 4}},
    {"match": "*.grad_output", "format": "fp8_e5m2"},
]


def test_mappings_in_rules_plans_and_files(tmp_path) -> None:
    quantized = quantize_model(model(), "int8", rules=RULES)
    plan = quantized.quantization.plan
    assert plan["2.weight"].spec.format == E2M4
    assert (
        plan["0.weight"].cells() | {"format": "fp4_e2m1", "range": "none", "granularity": "tensor"}
        == plan["0.weight"].cells()
    )
    assert "minifloat(exponent_bits=2, mantissa_bits=4, top=fn)" in plan.table()
    x = torch.randn(5, 12)
    y = quantized(x)
    y.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in quantized.parameters())
    state = quantized.quantization.state_dict(quantized)
    torch.save([quantized.state_dict(), state], tmp_path / "model.pt")
    weights, state = torch.load(tmp_path / "model.pt", weights_only=True)
    other = quantize_model(model(), "int8", rules=json.loads(json.dumps(RULES)))
    other.load_state_dict(weights, strict=True)
    other.quantization.load_state_dict(other, state)
    assert torch.equal(other(x), y)

    packed, _ = pack_weights(quantized)
    torch.save({key: weight.as_dict() for key, weight in packed.items()}, tmp_path / "packed.pt")
    read = {key: read_packed(e) for key, e in torch.load(tmp_path / "packed.pt", weights_only=True).items()}
    assert read["2.weight"].format == E2M4 and read["0.weight"].format == "fp4_e2m1"
    assert read["0.weight"].data.shape == (10, 6)  # two codes a byte
    for key, weight in read.items():
        plain = fake_quantize(quantized.get_parameter(key).detach(), weight.format)
        assert torch.equal(weight.values(), plain)
        other.get_parameter(key).data = weight.values()
    keep_integer_weights(other.eval(), read)
    assert torch.equal(other(x), y)


def test_a_plan_file_keeps_settings() -> None:
    config = {"preset": "int8", "rules": [{"match": "*", "format": {"format": "affine"}}]}
    saved = json.dumps({"version": 1, "config": config, "plan": []})
    assert read_plan(saved)["config"]["rules"][0]["format"] == {"format": "affine_float_zp"}
    rules = read_config({"preset": "int8", "rules": RULES}).rules
    assert rules[-1].format == "fp8_e5m2" and rules[-3].format == E2M4


@pytest.mark.parametrize("name", FAMILIES)
def test_every_format_in_a_model(name: str) -> None:
    number_format = build_format(name)
    bits = bits_of(number_format)
    holds = number_format.holds_gradients and bits > 1
    match = "*" if holds else "re:.*(weight|input)"
    rules = [{"match": match, "format": name}, {"match": "re:.*(weight|input)", "bits": bits}]
    grad_bits = number_format.fixed_bits if holds else None
    quantized = quantize_model(model(), "int8", num_grad_bits=grad_bits or 8, rules=rules, compute="integer")
    x = torch.randn(5, 12)
    for _ in range(2):
        quantized(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in quantized.parameters())
    note = quantized.quantization.plan["0.weight"].cells()["compute"]
    has_kernel = number_format.is_uniform and number_format.takes_range and number_format.block is None
    assert note == ("integer" if has_kernel else "simulate, no integer kernel")


@pytest.mark.parametrize(
    ("changes", "rule", "message"),
    [
        ({}, {"match": "0.weight", "format": "fp4_e2m1"},
         "quantization.num_bits=8: '0.weight' follows it, and its format fp4_e2m1 has 4 bits, always; "
         "pin it by bits: 4 in the rule"),
        ({"schedule": {"name": "CR", "min_bits": 4}}, {"match": "0.weight", "format": "fp8_e4m3"},
         "quantization.schedule.min_bits=4: '0.weight' follows it, and its format fp8_e4m3 has 8 bits, always"),
        ({}, {"match": "0.weight", "format": "fp8_e4m3", "bits": 4}, "0.weight: 4 bits; .* fp8_e4m3 has 8 bits"),
        ({}, {"match": "*.grad_output", "format": "fp4_e2m1"}, "num_grad_bits=8: .* 4 bits.* by grad_bits: 4 in"),
        ({}, {"match": "*.grad_output", "format": {"format": "fixed_point", "signed": False}}, "cannot hold gradients"),
        ({}, {"match": "0.weight", "format": "fp8_e4m"}, "0.weight: unknown number format 'fp8_e4m'; did you mean"),
    ],
)  # fmt: skip
def test_bits_that_contradict_a_fixed_width(changes: dict[str, object], rule: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        quantize_model(model(), "int8", rules=[rule], **changes)
    assert "\n" not in str(error.value)
