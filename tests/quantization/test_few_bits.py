"""Formats, estimators, transforms and recipes of one to four bits against formulas written out here, in fp64."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import PRESETS, PrecisionScheduler, quantize_model
from fairseq.quantization.formats import build_format
from fairseq.quantization.observers.gaussian import PUBLISHED, least_squares_multiple
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.transforms import build_transform

RECIPES = [name for name in PRESETS if name.startswith(("binary_", "quest_", "paretoq_", "bitnet"))]


def spread(rows: int, columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64) * 0.7


def hadamard(size: int) -> Tensor:
    signs = [[(-1.0) ** bin(i & j).count("1") for j in range(size)] for i in range(size)]
    return torch.tensor(signs, dtype=torch.float64) / math.sqrt(size)


def weight_quantizer(shape: tuple[int, int], **settings: object) -> Quantizer:
    return Quantizer("fc.weight", WEIGHT, QuantizerSpec(**settings), QuantizationContext(), shape=shape)  # type: ignore[arg-type]


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for the rounding of learned parameters, which are fp32."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7, check_dtype=False)


# --- QuEST ------------------------------------------------------------------------------------------------------------


def quest(x: Tensor, num_bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values in the rotated domain, the rotated tensor and half a step, by the paper's formula."""
    rotated = x @ torch.block_diag(*[hadamard(128)] * (x.shape[1] // 128))
    most = PUBLISHED[num_bits - 1] * rotated.square().mean(1, keepdim=True).sqrt() + 1e-8
    step = 2 * most / (2**num_bits - 1)
    levels = (torch.round(rotated.clamp(-most, most) / step + 0.5) - 0.5) * step
    return levels, rotated, step / 2


@pytest.mark.parametrize("num_bits", [1, 2, 3, 4, 8])
def test_quest_is_the_formula(num_bits: int) -> None:
    recipe = PRESETS["quest_w4a4"].rules[1]
    quantizer = weight_quantizer(
        (6, 256),
        format=recipe.format,
        granularity="channel",
        range=recipe.range,
        transform=recipe.transform,
        ste="trust",
    )
    x = spread(6, 256).requires_grad_()
    grad = spread(6, 256, seed=1)
    quantized = quantizer(x, num_bits)
    quantized.grad_target.backward(grad)
    levels, rotated, half = quest(x.detach(), num_bits)
    matrix = torch.block_diag(hadamard(128), hadamard(128))
    torch.testing.assert_close(quantized.value, levels @ matrix.T, rtol=1e-6, atol=1e-7)
    mask = (levels - rotated).abs() <= half
    assert (~mask).sum() > 0 or num_bits == 8
    torch.testing.assert_close(x.grad, ((grad @ matrix) * mask) @ matrix.T, rtol=1e-6, atol=1e-7)
    edge = half * 2**num_bits  # the same mask as one comparison
    assert torch.equal(mask, rotated.abs() <= edge)
    codes = quantizer.codes(x.detach(), num_bits)
    assert all(len(row.unique()) <= 2**num_bits for row in codes)


@pytest.mark.parametrize(
    ("name", "num_bits", "published", "error"),
    [("midrise", 1, 0.797884559, 0.3634), ("midrise", 2, 1.493534620, 0.1188), ("midrise", 4, 2.513930579, 1.154e-2),
     ("midrise", 8, 3.884938679, 8.782e-5), ("symmetric", 2, 1.224008952, 0.1902), ("mxfp4", 4, 2.92247856, 1.268e-2)],
)  # fmt: skip
def test_scales_for_normal_numbers(name: str, num_bits: int, published: float, error: float) -> None:
    number_format = build_format(name)
    multiple = least_squares_multiple(number_format, num_bits)
    assert multiple == pytest.approx(published, rel=3e-6)
    values = number_format.values(num_bits).unique()
    levels = values / values.max() * multiple
    z = torch.linspace(-9, 9, 400_001, dtype=torch.float64)
    nearest = levels[torch.bucketize(z, (levels[1:] + levels[:-1]) / 2)]
    weights = (-z * z / 2).exp() / math.sqrt(2 * math.pi)
    found = torch.trapezoid((nearest - z).square() * weights, z).item()
    assert found == pytest.approx(error, rel=2e-3)


# --- transforms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hadamard:128", "hadamard:16:fixed", "hadamard:32:random"])
@pytest.mark.parametrize("width", [16, 64, 96, 128, 256, 33])
def test_rotations_keep_products(text: str, width: int) -> None:
    rotation = build_transform(text)
    assert rotation is not None
    a, b = spread(3, width), spread(5, width, seed=1)
    turned = rotation.apply(a, 7), rotation.apply(b, 7)
    torch.testing.assert_close(turned[0] @ turned[1].T, a @ b.T)
    torch.testing.assert_close(rotation.undo(turned[0], width, 7), a)
    assert torch.equal(rotation.apply(a, 7), rotation.apply(a, 8)) != (text.endswith("random"))


def test_blocks_are_those_of_the_matrix() -> None:
    rotation = build_transform("hadamard:4")
    assert rotation is not None
    x = spread(2, 8)
    torch.testing.assert_close(rotation.apply(x, 0), x @ torch.block_diag(hadamard(4), hadamard(4)))


@pytest.mark.parametrize(
    "text", ["hadamard", "hadamard:12", "hadamard:16:odd", "hadamard:0", "hadamar:8", "standardize:2"]
)
def test_unknown_transforms(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        QuantizerSpec(transform=text).check("fc.weight", WEIGHT)
    assert "fc.weight" in str(error.value) and "\n" not in str(error.value)


# --- IR-Net -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_irnet_is_the_formula(progress: float) -> None:
    recipe = PRESETS["binary_irnet"].rules[1]
    quantizer = weight_quantizer(
        (4, 30), format=recipe.format, granularity="channel", transform=recipe.transform, ste=recipe.ste
    )
    quantizer.context.total_updates, quantizer.context.update = 101, int(100 * progress)
    w, grad = spread(4, 30).requires_grad_(), spread(4, 30, seed=1)
    quantized = quantizer(w, 1)
    quantized.grad_target.backward(grad)
    own = w.detach().clone().requires_grad_()
    centred = own - own.mean(1, keepdim=True)
    standard = centred / centred.std(1, keepdim=True)
    scale = 2.0 ** standard.detach().abs().mean(1, keepdim=True).log2().round()
    assert torch.equal(quantized.value, scale * torch.where(standard >= 0, 1.0, -1.0))
    t = {0.0: 0.1, 0.5: 1.0, 1.0: 10.0}[progress]
    k = max(1 / t, 1.0)
    standard.backward(grad * scale * k * t * (1 - (t * standard.detach()).tanh() ** 2))
    torch.testing.assert_close(w.grad, own.grad)


def test_error_decay_is_exact_at_both_ends_and_resumes() -> None:
    def train(
        updates: int, state: "dict[str, object] | None" = None
    ) -> tuple[list[float], nn.Module, PrecisionScheduler]:
        torch.manual_seed(0)
        model = quantize_model(nn.Sequential(nn.Linear(8, 6)), "binary_irnet")
        scheduler = PrecisionScheduler(model, total_updates=5)
        if state is not None:
            scheduler.load_state_dict(state)
        seen = []
        while scheduler.num_updates < updates:
            model(torch.randn(3, 8)).sum().backward()
            seen.append(model.quantization.context.progress)
            scheduler.step()
        return seen, model, scheduler

    whole, _, _ = train(5)
    assert whole == [0.0, 0.25, 0.5, 0.75, 1.0]
    first, _, scheduler = train(2)
    rest, _, _ = train(5, scheduler.state_dict())
    assert first + rest == whole


# --- ParetoQ ----------------------------------------------------------------------------------------------------------


def paretoq(name: str, w: Tensor, alpha: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient of the weight and of alpha, by the table of the released code."""
    u = w / alpha
    if name == "1":
        q, inside, rises, largest = u.sign(), u.abs() <= 1, u.sign(), 1
    elif name == "t":
        clipped = u.clamp(-0.99, 0.99)
        q, inside, largest = (1.5 * clipped).round() / 1.5, u.abs() <= 0.99, 1
        rises = torch.where(inside, q - u, u.sign())
    elif name == "2":
        clipped = u.clamp(-0.99, 0.99)
        q, inside, largest = ((2 * clipped - 0.5).round() + 0.5) / 2, u.abs() <= 0.99, 1
        rises = torch.where(inside, q - u, 0.75 * u.sign())
    else:
        least, largest = -(2 ** (int(name) - 1)), 2 ** (int(name) - 1) - 1
        q, inside = u.round().clamp(least, largest), (u >= least) & (u <= largest)
        rises = torch.where(inside, u.round() - u, torch.where(u < least, float(least), float(largest)))
    factor = 1 / math.sqrt(w.numel() * largest)
    return alpha * q, grad * inside, (rises * grad).sum(1, keepdim=True) * factor


@pytest.mark.parametrize("name", ["1", "t", "2", "3", "4"])
def test_paretoq_is_the_table(name: str) -> None:
    preset = PRESETS[f"paretoq_{name}"]
    bits, recipe = preset.num_bits, preset.rules[1]
    quantizer = weight_quantizer(
        (5, 40), bits=bits, format=recipe.format, granularity="channel", learned="alpha"
    ).double()
    w, grad = spread(5, 40).requires_grad_(), spread(5, 40, seed=1)
    learned = quantizer.learned
    assert learned is not None and bits is not None
    quantizer(w.detach(), bits)  # starts alpha
    size = w.detach().abs()
    starts = {"1": size.mean(1), "t": size.amax(1), "2": size.amax(1), "3": size.amax(1) / 3, "4": size.amax(1) / 7}
    close(learned.alpha.detach().flatten(), starts[name])
    with torch.no_grad():
        learned.alpha.mul_(0.6)  # so that some lie outside
    quantized = quantizer(w, bits)
    quantized.grad_target.backward(grad)
    value, grad_w, grad_alpha = paretoq(name, w.detach(), learned.alpha.detach(), grad)
    close(quantized.value, value)
    close(w.grad, grad_w)
    close(learned.alpha.grad, grad_alpha)


# --- BiT --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_sided", [False, True])
def test_elastic_is_the_formula(one_sided: bool) -> None:
    name = "binary_unsigned" if one_sided else "binary"
    spec = QuantizerSpec(format=name, learned="elastic")
    quantizer = Quantizer("fc.input", ACTIVATION, spec, QuantizationContext(), features=7).double()
    x, grad = spread(9, 7).requires_grad_(), spread(9, 7, seed=1)
    learned = quantizer.learned
    assert learned is not None
    quantizer(x.detach(), 1)
    assert learned.scale.item() == pytest.approx((4 if one_sided else 2) * x.abs().mean().item())
    with torch.no_grad():
        learned.scale.fill_(0.5)
        learned.threshold.copy_(torch.linspace(-0.2, 0.2, 7))
    quantized = quantizer(x, 1)
    quantized.grad_target.backward(grad)
    v = (x.detach() - learned.threshold.detach()) / 0.5
    if one_sided:
        value, inside = 0.5 * v.clamp(0, 1).round(), (v >= 0) & (v <= 1)
        rises = torch.where(v < 0, v * 0, torch.where(v < 0.5, -v, torch.where(v <= 1, 1 - v, v * 0 + 1)))
    else:
        value, inside, rises = 0.5 * v.sign(), v.abs() <= 1, v.sign()
    close(quantized.value, value)
    close(x.grad, grad * inside)
    close(learned.scale.grad, (rises * grad).sum().reshape(1) / math.sqrt(63))
    close(learned.threshold.grad, -(grad * inside).sum(0))


def test_weights_of_bit_are_around_their_mean() -> None:
    w = spread(3, 20) + 0.3
    value = weight_quantizer((3, 20), format="binary_centered", granularity="tensor")(w, 1).value
    expected = w.abs().mean() * (w - w.mean()).sign()
    torch.testing.assert_close(value, expected)


# --- BitNet -----------------------------------------------------------------------------------------------------------


def test_bitnet_is_the_formula() -> None:
    layer = quantize_model(nn.Sequential(nn.Linear(24, 5, bias=False)).double(), "bitnet_158")
    x = spread(4, 24).requires_grad_()
    y = layer(x)
    y.backward(torch.ones_like(y))
    weight = layer[0].weight.detach()
    gamma = weight.abs().mean()
    w = (weight / gamma).round().clamp(-1, 1) * gamma
    normed = x.detach() * (x.detach().square().mean(1, keepdim=True) + 1e-6).rsqrt()
    s = 127 / normed.abs().amax(1, keepdim=True)
    q = (normed * s).round().clamp(-128, 127) / s
    torch.testing.assert_close(y, q @ w.T)
    torch.testing.assert_close(layer[0].weight.grad, torch.ones(4, 5).double().T @ q)
    assert len(w.unique()) == 3


def test_bitnet_is_that_of_transformers() -> None:
    path = Path(__file__).parents[1] / "fixtures" / "few_bits" / "bitnet.json"
    oracle = {name: torch.tensor(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    layer = quantize_model(nn.Sequential(nn.Linear(12, 5, bias=False)), "bitnet_158")
    layer.load_state_dict({"0.weight": oracle["weight"]})
    x = oracle["x"].requires_grad_()
    y = layer(x)
    y.backward(oracle["grad"])
    close(y, oracle["y"])
    close(layer[0].weight.grad, oracle["grad_weight"])
    close(x.grad, oracle["grad_x"])


# --- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_in_evaluation(name: str) -> None:
    torch.manual_seed(1)
    model = quantize_model(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), name)
    before = model[0].weight.detach().clone()
    x = torch.randn(6, 64)
    model(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert torch.equal(model[0].weight, before)  # copied, not drawn anew
    model.eval()
    assert torch.equal(model(x), model(x))
    quantizer = model[0].quantizers.quantizer("weight")
    bits = quantizer.bits(model.quantization.config.eval_bits)
    counts = {len(row.unique()) for row in quantizer.codes(model[0].weight.detach(), bits)}
    levels = 3 if name in ("paretoq_t", "bitnet_158") else 2**bits
    assert max(counts) <= levels and (bits > 1 or counts == {2})


def test_stochastic_weights_are_rounded_to_nearest_in_evaluation() -> None:
    rules = [{"match": "*.weight", "rounding": "stochastic"}]
    model = quantize_model(nn.Sequential(nn.Linear(16, 16)), "w4", rules=rules)
    nearest = quantize_model(nn.Sequential(nn.Linear(16, 16)), "w4")
    nearest.load_state_dict(model.state_dict())
    x = torch.randn(4, 16)
    assert not torch.equal(model(x), nearest(x))
    model.eval()
    assert torch.equal(model(x), nearest.eval()(x)) and torch.equal(model(x), model(x))


# --- patterns ---------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("q_proj", "k_proj", "v_proj", "out_proj")})
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 4)
        self.classifier = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.self_attn.values(), self.fc1, self.fc2, *self.classifier):
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("mha", "q k v out"), ("ffn", "fc1 fc2"), ("cls", "classifier.0"), ("all", "q k v out fc1 fc2 classifier.0"),
     ("all_qk", "q k fc1 fc2 classifier.0"), ("all_qv", "q v fc1 fc2 classifier.0"),
     ("all_kv", "k v fc1 fc2 classifier.0")],
)  # fmt: skip
def test_patterns_take_what_they_say(pattern: str, expected: str) -> None:
    model = quantize_model(Block(), "binary_bwn", pattern=pattern)
    names = {path: path.replace("self_attn.", "").replace("_proj", "") for path, _ in model.named_modules()}
    found = {names[row.product] for row in model.quantization.plan.active if row.product}
    assert found == set(expected.split())
    model = quantize_model(Block(), "binary_bwn", pattern=pattern, keep_last=False)
    assert ("classifier.1" in {row.product for row in model.quantization.plan.active}) == ("classifier" in expected)
    config = model.quantization.config
    again = quantize_model(Block(), config)  # a config that has been filled
    assert again.quantization.plan.as_dicts() == model.quantization.plan.as_dicts()


def test_rules_win_over_patterns() -> None:
    rules = [{"match": "classifier.1.weight", "quantize": True}, {"match": "fc1.*", "quantize": False}]
    plan = quantize_model(Block(), "binary_bwn", pattern="all", rules=rules).quantization.plan
    assert plan["classifier.1.weight"].active and not plan["fc1.weight"].active


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"pattern": "mha"}, "quantization.pattern=mha matches no quantizer of the model"),
     ({"pattern": "al"}, "unknown pattern 'al' in quantization; did you mean 'all'?"),
     ({"num_grad_bits": 1}, "gradients of 1 bit"),
     ({"rules": [{"match": "0.input", "format": "binary", "learned": "alpha", "quantize": True, "range": "gaussian"}],
       "preset": "int8"}, "bits")],
)  # fmt: skip
def test_bad_settings_end_in_one_line(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        quantize_model(nn.Sequential(nn.Linear(4, 4)), **{"preset": "binary_bwn", **settings})
    assert words in str(error.value) and "\n" not in str(error.value)


# --- a start in full precision ----------------------------------------------------------------------------------------


def test_nothing_is_rounded_before_the_first_update_of_the_plan() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(8, 8)), "quest_w4a4", full_precision_updates=2)
    scheduler = PrecisionScheduler(model, total_updates=4)
    weight, x, rounded = model[0].weight.detach().clone(), torch.randn(3, 8), []
    for _ in range(4):
        rounded.append(not torch.equal(model(x), nn.functional.linear(x, model[0].weight, model[0].bias)))
        scheduler.step()
    assert rounded == [False, False, True, True] and torch.equal(model[0].weight, weight)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"full_precision_updates": 4}, "the run ends before anything is rounded, which would be from update 5 of 4"),
     ({"full_precision_epochs": 1}, "this loop has no epochs"),
     ({"full_precision_epochs": 1, "full_precision_updates": 4}, "exclude each other"),
     ({"full_precision_updates": -1}, "must be a whole number, 0 or more")],
)  # fmt: skip
def test_a_switch_beyond_the_run(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        PrecisionScheduler(quantize_model(nn.Sequential(nn.Linear(4, 4)), "w4", **settings), total_updates=4)
    assert words in str(error.value) and "\n" not in str(error.value)


# --- NVFP4 ------------------------------------------------------------------------------------------------------------

E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def nearest_e2m1(x: Tensor) -> Tensor:
    """The nearest value, midpoints to even codes."""
    middles = (E2M1[1:] + E2M1[:-1]) / 2
    low = torch.bucketize(x.abs(), middles)  # of two, the lower one
    is_tie = (x.abs() == middles[low.clamp(max=6)]) & (low < 7)
    code = torch.where(is_tie & (low % 2 == 1), low + 1, low)
    return E2M1[code] * x.sign()


def nvfp4(x: Tensor, rows: int) -> Tensor:
    """Blocks of (rows, 16), in the order of the released recipes."""
    encode = torch.tensor(448.0 * 6) / x.abs().max()
    blocks = x.view(x.shape[0] // rows, rows, x.shape[1] // 16, 16)
    amax = blocks.abs().amax((1, 3), keepdim=True)
    scale = (amax * (encode * (1 / 6))).clamp(max=448).to(torch.float8_e4m3fn).float()
    factor = (1 / (scale * (1 / encode))).clamp(max=torch.finfo(torch.float32).max)
    return (nearest_e2m1((blocks * factor).clamp(-6, 6)) * (scale * (1 / encode))).view(x.shape)


@pytest.mark.parametrize("rows", [1, 16])
def test_nvfp4_in_the_order_of_the_recipe(rows: int) -> None:
    x = spread(32, 64).float()
    x[:16, :16] *= 1e-9  # whose scales are 0
    x[20, 40] = 1000.0
    settings = {"format": "nvfp4", "scaling": "encode", **({"block_size": [16, 16]} if rows == 16 else {})}
    quantizer = weight_quantizer((32, 64), format=settings)
    value = quantizer(x, 4).value
    assert torch.equal(value, nvfp4(x, rows)) and not value[:16, :16].any()
    assert torch.equal(quantizer(torch.zeros(32, 64), 4).value, torch.zeros(32, 64))
    if rows == 16:
        assert torch.equal(quantizer(x.T.contiguous(), 4).value, value.T)
    assert torch.equal(nearest_e2m1(torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])), E2M1[[0, 2, 2, 4, 4, 6, 6]])


def test_nvfp4_recipe_rounds_each_product_as_published() -> None:
    torch.manual_seed(0)
    rules = [{"match": "*.grad_output", "rounding": "nearest"}]
    layer = quantize_model(nn.Sequential(nn.Linear(64, 32, bias=False)), "nvfp4_recipe", rules=rules)
    x, grad, weight = torch.randn(48, 64, requires_grad=True), torch.randn(48, 32), layer[0].weight
    y = layer(x)
    y.backward(grad)
    w = nvfp4(weight.detach(), 16)
    torch.testing.assert_close(y, nvfp4(x.detach(), 1) @ w.T)
    torch.testing.assert_close(x.grad, nvfp4(grad, 1) @ w)
    signs = torch.tensor([1.0, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1])
    rotation = torch.block_diag(*[signs[:, None] * hadamard(16).float()] * 3)
    g, a = nvfp4((grad.T @ rotation).contiguous(), 1), nvfp4((x.detach().T @ rotation).contiguous(), 1)
    error = (weight.grad - g @ a.T).norm() / weight.grad.norm()
    assert error < 0.02  # a rotation rounds in another order, which may move a value across a midpoint
    assert (weight.grad - grad.T @ x.detach()).norm() / weight.grad.norm() > 0.05


def test_stochastic_gradients_come_near_to_the_exact_ones_in_the_mean() -> None:
    torch.manual_seed(0)
    layer = quantize_model(nn.Sequential(nn.Linear(16, 16, bias=False)), "nvfp4_recipe")
    x, grad = torch.randn(32, 16), torch.randn(32, 16)
    draws = []
    for _ in range(200):
        layer[0].weight.grad = None
        layer(x).backward(grad)
        draws.append(layer[0].weight.grad.clone())
    exact = grad.T @ layer[0].quantizers.quantizer("input").fake_across(x, 4)
    mean_error = (torch.stack(draws).mean(0) - exact).norm() / exact.norm()
    assert mean_error < 0.02  # a block scale that e4m3 rounds down clips its largest value
    assert (draws[0] - exact).norm() / exact.norm() > 4 * mean_error


def test_across_is_for_blocks_along_one_axis() -> None:
    for format_name in ("symmetric", {"format": "nvfp4", "block_size": [16, 16]}):
        with pytest.raises(ConfigError, match="rounded anew for the weight gradient") as error:
            QuantizerSpec(format=format_name, transform="across:hadamard:16").check("fc.input", ACTIVATION)
        assert "\n" not in str(error.value)
