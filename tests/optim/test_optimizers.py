"""Optimizers give fairseq 0.12's weights and states (tests/fixtures/optimizers.json)."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fairseq import utils
from fairseq.errors import CheckpointError, ConfigError
from fairseq.optim import OPTIMIZER_REGISTRY, FairseqOptimizer, build_optimizer, register_optimizer

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "optimizers.json").read_text())
SHAPES = [(3, 4), (5,)]
DEFAULTS = {
    "adamax": {"no_bias_correction": False},
    "adafactor": {
        "adafactor_eps": "(1e-30, 1e-3)",
        "clip_threshold": 1.0,
        "decay_rate": -0.8,
        "beta1": None,
        "weight_decay": 0.0,
        "scale_parameter": False,
        "relative_step": False,
        "warmup_init": False,
    },
}


def make_params():
    values = [[((5 * i + 3 * k) % 13 - 6) / 8 for i in range(torch.Size(s).numel())] for k, s in enumerate(SHAPES)]
    return [nn.Parameter(torch.tensor(v).view(s)) for v, s in zip(values, SHAPES, strict=True)]


def set_grads(params, update):
    for p in params:
        shift = torch.tensor([((7 * i + 3 * update) % 11 - 5) / 16 for i in range(p.numel())]).view(p.shape)
        p.grad = p.data * 0.25 + shift


def make_optimizer(name, config, params, **overrides):
    groups = [{"params": [p]} for p in params] if name == "adafactor" else params  # as in the fixtures
    return build_optimizer(SimpleNamespace(**{**DEFAULTS.get(name, {}), **config, **overrides, "_name": name}), groups)


def train(optimizer, params, lr, updates):
    for update in updates:
        optimizer.set_lr(lr * 0.5 ** (update // 40))
        set_grads(params, update)
        optimizer.step()


def adam(params, **overrides):
    config = {"adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.1, "lr": [1e-2]}
    return make_optimizer("adam", config, params, **overrides)


def fixture_state(case):
    """The saved state as tensors, the way a checkpoint holds it."""
    state = {
        int(index): {
            key: torch.tensor(value) if key != "step" or case["optimizer"] == "adagrad" else value
            for key, value in entries.items()
        }
        for index, entries in case["state"].items()
    }
    return {"state": state, "param_groups": case["param_groups"]}


def close(found, expected):
    """Within a few rounding errors: the fixtures are of one processor, and torch rounds roots and quotients
    otherwise on another. `test_live_to_the_last_bit` compares on one machine.
    """
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["optimizer"])
def test_weights_equal_fairseq(case):
    params, done = make_params(), 0
    optimizer = make_optimizer(case["optimizer"], case["config"], params, use_old_adam=True)
    for update, weights in case["weights"].items():
        train(optimizer, params, case["config"]["lr"][0], range(done + 1, int(update) + 1))
        done = int(update)
        for p, expected in zip(params, weights, strict=True):
            close(p, torch.tensor(expected).view(p.shape))


@pytest.mark.parametrize("case", [case for case in CASES if case["optimizer"] == "adam"], ids=["eps1e-6", "eps1e-2"])
def test_fused_adam_equals_fairseq_to_rounding(case):
    """100 updates of the fused kernel: within a few rounding errors of the weights."""
    params = make_params()
    train(make_optimizer("adam", case["config"], params), params, case["config"]["lr"][0], range(1, 101))
    for p, expected in zip(params, case["weights"]["100"], strict=True):
        torch.testing.assert_close(p.flatten(), torch.tensor(expected), rtol=2e-6, atol=2e-7)


def test_eps_is_added_before_the_bias_correction():
    """At a large eps torch.optim.AdamW, which adds it afterwards, takes clearly other steps."""
    case = next(case for case in CASES if case["optimizer"] == "adam" and case["config"]["adam_eps"] == 1e-2)
    params = make_params()
    set_grads(params, 1)
    torch.optim.AdamW(params, lr=3e-2, betas=(0.9, 0.999), eps=1e-2, weight_decay=0).step()
    assert not torch.allclose(params[0].flatten(), torch.tensor(case["weights"]["1"][0]), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["optimizer"])
def test_state_has_fairseqs_layout(case):
    params = make_params()
    optimizer = make_optimizer(case["optimizer"], case["config"], params, use_old_adam=True)
    train(optimizer, params, case["config"]["lr"][0], range(1, 101))
    state = optimizer.state_dict()
    assert set(state) == {"state", "param_groups"}
    for group, expected in zip(state["param_groups"], case["param_groups"], strict=True):
        for key, value in expected.items():
            ours = list(group[key]) if isinstance(group[key], tuple) else group[key]
            assert ours == value, key
    for index, expected in case["state"].items():
        ours = state["state"][int(index)]
        assert set(ours) == set(expected)
        for key, value in expected.items():
            if torch.is_tensor(ours[key]):
                close(ours[key], torch.tensor(value).view(ours[key].shape))
            else:
                assert ours[key] == value, key


@pytest.mark.oracle
def test_live_to_the_last_bit(tmp_path, oracle_python, oracle_env, repository):
    script, out = repository / "tests" / "conformance" / "make_optimizer_fixtures.py", tmp_path / "optimizers.json"
    subprocess.run([oracle_python, "-W", "ignore", script, out], env=oracle_env, check=True, cwd=tmp_path)
    for case in json.loads(out.read_text()):
        params, done = make_params(), 0
        optimizer = make_optimizer(case["optimizer"], case["config"], params, use_old_adam=True)
        for update, weights in case["weights"].items():
            train(optimizer, params, case["config"]["lr"][0], range(done + 1, int(update) + 1))
            done = int(update)
            if case["optimizer"] == "adafactor":  # torch's means add up in another order here
                for p, expected in zip(params, weights, strict=True):
                    close(p.flatten(), torch.tensor(expected))
                continue
            assert [p.flatten().tolist() for p in params] == weights, (case["optimizer"], update)


@pytest.mark.parametrize("fused", [True, False])
def test_adam_goes_on_from_fairseqs_state(fused):
    """Half of the updates here, half after loading the state: as without the break."""
    case = CASES[0]
    params = make_params()
    full = make_optimizer("adam", case["config"], params, use_old_adam=not fused)
    train(full, params, 1e-3, range(1, 111))

    params2 = make_params()
    with torch.no_grad():
        for p, weights in zip(params2, case["weights"]["100"], strict=True):
            p.copy_(torch.tensor(weights).view(p.shape))
    resumed = make_optimizer("adam", case["config"], params2, use_old_adam=not fused)
    resumed.load_state_dict(fixture_state(case))
    assert [type(s["step"]) for s in resumed.optimizer.state.values()] == [int, int]
    train(resumed, params2, 1e-3, range(101, 111))
    for p, q in zip(params, params2, strict=True):
        torch.testing.assert_close(p, q, rtol=2e-6 if fused else 0, atol=2e-7 if fused else 0)


@pytest.mark.oracle
def test_fairseq_goes_on_from_our_adam_state(tmp_path, oracle_python, oracle_env):
    params = make_params()
    optimizer = make_optimizer("adam", CASES[0]["config"], params)
    train(optimizer, params, 1e-3, range(1, 21))
    torch.save({"optimizer": optimizer.state_dict(), "params": [p.data for p in params]}, tmp_path / "state.pt")
    script = tmp_path / "resume.py"
    script.write_text(
        "import sys, types, torch\n"
        "from fairseq.optim import OPTIMIZER_REGISTRY\n"
        f"cfg = types.SimpleNamespace(use_old_adam=True, fp16_adam_stats=False, tpu=False, **{CASES[0]['config']!r})\n"
        "saved = torch.load(sys.argv[1])\n"
        "params = [torch.nn.Parameter(p) for p in saved['params']]\n"
        "optimizer = OPTIMIZER_REGISTRY['adam'](cfg, params)\n"
        "optimizer.load_state_dict(saved['optimizer'])\n"
        "for p in params: p.grad = torch.ones_like(p)\n"
        "optimizer.step()\n"
        "torch.save([p.data for p in params], sys.argv[1])\n"
    )
    subprocess.run(
        [oracle_python, "-W", "ignore", script, tmp_path / "state.pt"], env=oracle_env, check=True, cwd=tmp_path
    )
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    for p, q in zip(params, torch.load(tmp_path / "state.pt"), strict=True):
        torch.testing.assert_close(p.data, q, rtol=2e-6, atol=2e-7)


def test_parameters_without_gradient_stay_and_get_no_state():
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = adam([used, unused])
    optimizer.backward((used**2).sum())
    optimizer.step()
    assert unused.tolist() == [1, 1, 1] and used[0] < 1
    assert set(optimizer.state_dict()["state"]) == {0}


def test_frozen_parameters_are_left_out():
    frozen, trained = nn.Parameter(torch.ones(3), requires_grad=False), nn.Parameter(torch.ones(2))
    assert [p is trained for p in adam([frozen, trained]).params] == [True]
    groups = [{"params": [frozen]}, {"params": [trained, frozen], "weight_decay": 0.0}]
    assert [(len(g["params"]), g["weight_decay"]) for g in adam(groups).param_groups] == [(1, 0.0)]


def test_parameters_that_join_later_count_their_own_steps():
    early, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = adam([early, late], weight_decay=0.0)
    early.grad = torch.ones(2)
    optimizer.step()
    early.grad, late.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    assert [optimizer.optimizer.state[p]["step"] for p in (early, late)] == [2, 1]
    torch.testing.assert_close(late.data, torch.full((2,), 0.99))  # a first step has size lr


def test_gradients_of_other_layout():
    """The kernel reads raw memory: expanded and transposed gradients must be made to fit first."""
    weight = nn.Parameter(torch.zeros(2, 3))
    reference = nn.Parameter(torch.zeros(2, 3))
    for optimizer, p in ((adam([weight]), weight), (adam([reference], use_old_adam=True), reference)):
        p.grad = torch.tensor([[1.0], [-1.0]]).expand(2, 3)
        optimizer.step()
        p.grad = torch.arange(6.0).view(3, 2).t()
        optimizer.step()
    torch.testing.assert_close(weight, reference)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_adam_statistics_are_at_least_fp32(dtype):
    weight = nn.Parameter(torch.ones(4, dtype=dtype))
    optimizer = adam([weight])
    weight.grad = torch.full((4,), 1e-3, dtype=dtype)
    optimizer.step()
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert optimizer.optimizer.state[weight]["exp_avg"].dtype == expected
    assert weight.dtype == dtype and bool((weight < 1).all())
    resumed = adam([weight])
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.optimizer.state[weight]["exp_avg_sq"].dtype == expected
    assert torch.equal(resumed.optimizer.state[weight]["exp_avg_sq"], optimizer.optimizer.state[weight]["exp_avg_sq"])


def test_overrides_win_over_the_saved_groups():
    source, target = adam(make_params()), adam(make_params(), lr=[0.5])
    target.load_state_dict(source.state_dict(), {"lr": 0.125, "weight_decay": 0.0})
    assert target.get_lr() == 0.125 and target.param_groups[0]["weight_decay"] == 0.0
    assert target.param_groups[0]["eps"] == 1e-6
    assert target.optimizer_config == {"lr": 0.5, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}


def test_state_of_another_model_is_refused():
    params = make_params()
    optimizer = adam(params)
    set_grads(params, 1)
    optimizer.step()
    with pytest.raises(CheckpointError, match=r"for 2 parameters, but 1 are trained here.*reset_optimizer"):
        adam(params[:1]).load_state_dict(optimizer.state_dict())
    with pytest.raises(CheckpointError, match=r"parameter 0 has shape \(3, 4\)"):
        adam([nn.Parameter(torch.zeros(4, 3)), params[1]]).load_state_dict(optimizer.state_dict())


def test_clipping_returns_the_norm_before_and_bounds_the_norm_after():
    params = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2))]
    params[0].grad, params[1].grad = torch.full((3,), 2.0), torch.full((4,), 1.0)
    optimizer = adam(params)
    assert optimizer.clip_grad_norm(0.0).item() == 4.0 and params[0].grad[0] == 2.0
    assert optimizer.clip_grad_norm(8.0).item() == 4.0 and params[0].grad[0] == 2.0
    norm = optimizer.clip_grad_norm(1.0)
    assert torch.is_tensor(norm) and norm.item() == 4.0
    assert abs(optimizer.clip_grad_norm(0.0).item() - 1.0) < 1e-6
    optimizer.zero_grad()
    assert params[0].grad is None and optimizer.clip_grad_norm(1.0).item() == 0.0


@pytest.mark.parametrize("max_norm", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype, in_rows", [(torch.float32, True), (torch.float32, False), (torch.float64, True)])
def test_multiplying_and_clipping_at_once(monkeypatch, dtype, in_rows, max_norm):
    monkeypatch.setattr(utils, "_PIECE", 64)
    torch.manual_seed(1)
    shapes = [(50, 7), (3,), (), (8, 16)]
    values = [torch.randn(shape, dtype=dtype) for shape in shapes]
    if not in_rows:
        values[0] = values[0].t().contiguous().t()
    rows = torch.nn.Embedding(20, 4, sparse=True, dtype=dtype)
    found = []
    for at_once in (True, False):
        params = [nn.Parameter(torch.zeros_like(value)) for value in values] + [rows.weight]
        for p, value in zip(params, values, strict=False):
            p.grad = torch.empty_like(p).copy_(value) if in_rows else value.clone()
        rows.weight.grad = None
        rows(torch.tensor([3, 5, 3])).sum().backward()
        optimizer = adam(params)
        if at_once:
            norm = optimizer.multiply_and_clip_grads(0.25, max_norm)
        else:
            optimizer.multiply_grads(0.25)
            norm = optimizer.clip_grad_norm(max_norm)
        found.append([norm, *(p.grad.to_dense() for p in params)])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)
    assert found[0][1].abs().max() > 0


def test_multiplying_and_clipping_of_no_gradients_or_infinite_ones():
    params = [nn.Parameter(torch.zeros(3))]
    optimizer = adam(params)
    assert optimizer.multiply_and_clip_grads(2.0, 1.0) == 0.0
    params[0].grad = torch.tensor([1.0, float("nan"), 2.0])
    assert not torch.isfinite(optimizer.multiply_and_clip_grads(2.0, 1.0))


def test_an_optimizer_with_its_own_clipping_keeps_it():
    class Own(FairseqOptimizer):
        def clip_grad_norm(self, max_norm, aggregate_norm_fn=None):
            return torch.tensor(7.0)

    params = [nn.Parameter(torch.zeros(1))]
    params[0].grad = torch.ones(1)
    optimizer = Own(SimpleNamespace())
    optimizer.optimizer = torch.optim.SGD(params)
    assert optimizer.multiply_and_clip_grads(0.5, 1.0) == 7.0 and params[0].grad == 0.5


@pytest.mark.parametrize("constant", [0.5, torch.tensor(0.5)])
def test_multiply_grads_and_scaled_step(constant):
    params = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    optimizer = build_optimizer(SimpleNamespace(_name="sgd", lr=[1.0], momentum=0.0, weight_decay=0.0), params)
    params[0].grad = torch.tensor([4.0, 8.0])
    optimizer.multiply_grads(constant)
    assert params[0].grad.tolist() == [2.0, 4.0]
    optimizer.step(scale=2.0)
    assert params[0].tolist() == [-1.0, -2.0] and params[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("betas", ["(0.9, 0.98)", "0.9, 0.98", [0.9, 0.98], (0.9, 0.98)])
def test_betas_in_any_notation(betas):
    assert adam(make_params(), adam_betas=betas).param_groups[0]["betas"] == (0.9, 0.98)


@pytest.mark.parametrize("betas", ["__import__('os').getcwd()", "(0.9,)", "(0.9, 1.0)", "0.9", None])
def test_betas_that_are_no_pair(betas):
    with pytest.raises(ConfigError, match="adam_betas"):
        adam(make_params(), adam_betas=betas)


def test_optimizer_is_required_and_named():
    with pytest.raises(ConfigError, match="--optimizer is required"):
        build_optimizer(SimpleNamespace(get=lambda key: None), make_params())
    with pytest.raises(ConfigError, match="did you mean 'adam'"):
        build_optimizer(SimpleNamespace(_name="adamm"), make_params())


def test_plugins_register_their_own():
    name = "plain_descent_for_a_test"

    @register_optimizer(name)
    class PlainDescent(FairseqOptimizer):
        def __init__(self, cfg, params):
            super().__init__(cfg)
            self._optimizer = torch.optim.SGD(params, lr=cfg.lr[0])

    try:
        built = build_optimizer(SimpleNamespace(_name=name, lr=[2.0]), make_params())
        assert isinstance(built, PlainDescent) and built.get_lr() == 2.0
        with pytest.raises(ValueError, match="registered already"):
            register_optimizer(name)(PlainDescent)
    finally:
        del OPTIMIZER_REGISTRY[name]


def test_adam_does_not_import_the_compiler():
    """It would cost more than a second before the first update."""
    import subprocess
    import sys

    code = (
        "import sys, torch; from fairseq.optim.adam import Adam; p = torch.nn.Parameter(torch.ones(2)); "
        "o = Adam([p]); p.grad = torch.ones(2); o.step(); o.zero_grad(); o.load_state_dict(o.state_dict()); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def adafactor(params, **overrides):
    return make_optimizer("adafactor", {**DEFAULTS["adafactor"], "lr": [1e-2]}, params, **overrides)


def test_adafactor_goes_on_from_its_state():
    config = {"beta1": 0.9, "weight_decay": 0.1, "scale_parameter": True}
    whole, first, second = make_params(), make_params(), make_params()
    train(adafactor(whole, **config), whole, 1e-2, range(1, 21))
    stopped, resumed = adafactor(first, **config), adafactor(second, **config)
    train(stopped, first, 1e-2, range(1, 8))
    for p, q in zip(second, first, strict=True):
        p.data.copy_(q)
    resumed.load_state_dict(stopped.state_dict(), resumed.optimizer_config)
    train(resumed, second, 1e-2, range(8, 21))
    assert all(torch.equal(p, q) for p, q in zip(whole, second, strict=True))


@pytest.mark.parametrize("warmup_init, first, tenth", [(False, 1e-2, 1e-2), (True, 1e-6, 1e-5)])
def test_adafactor_sets_its_learning_rate_where_that_is_asked_for(warmup_init, first, tenth):
    params = make_params()
    optimizer = adafactor(params, relative_step=True, warmup_init=warmup_init)
    assert optimizer.get_lr() == 0.0
    set_grads(params, 1)
    optimizer.step()
    assert optimizer.get_lr() == pytest.approx(first)
    train(optimizer, params, 1.0, range(2, 11))  # what a scheduler sets is not used
    assert optimizer.get_lr() == pytest.approx(tenth)


def test_adafactor_scales_each_parameter_by_itself():
    """fairseq 0.12 keeps a parameter's scaled rate for the next one of its group: rates multiply up."""
    config = SimpleNamespace(**{**DEFAULTS["adafactor"], "lr": [1e-2], "scale_parameter": True}, _name="adafactor")
    together, apart = make_params(), make_params()
    joined = build_optimizer(config, together)
    train(joined, together, 1e-2, range(1, 11))
    train(build_optimizer(config, [{"params": [p]} for p in apart]), apart, 1e-2, range(1, 11))
    assert all(torch.equal(p, q) for p, q in zip(together, apart, strict=True)) and joined.get_lr() == 1e-2


def test_adafactor_settings_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"warmup_init=True needs optimizer.relative_step=True"):
        adafactor(make_params(), warmup_init=True)
    with pytest.raises(ConfigError, match=r"adafactor_eps: expected two numbers like \(1e-30, 1e-3\)"):
        adafactor(make_params(), adafactor_eps="1e-30")
