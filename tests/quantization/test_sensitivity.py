"""Sensitivity: one product changes and nothing else does; mixed plans against every choice there is."""

import itertools
import random

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization import quantize_model
from fairseq.quantization.analysis.mixed_plan import choose, uniform
from fairseq.quantization.analysis.sensitivity import Candidate, Outcome, SensitivityRow, Switches, one_at_a_time
from fairseq.quantization.spec import GRADIENT


def outcome_on(tokens):
    @torch.no_grad()
    def score(model: nn.Module) -> Outcome:
        y = model(tokens)
        return Outcome(-float(y.abs().mean()), float(y.square().mean()), [y])

    return score


@pytest.mark.parametrize("rest", [0, None])
def test_one_product_changes_and_nothing_else(transformer, tokens, rest) -> None:
    model = quantize_model(transformer, "int8").eval()
    model.quantization.calibrate(model, [tokens])
    state, score = model.quantization.state_dict(model), outcome_on(tokens)
    usual = [] if rest is None else [{"match": "*", "quantize": False}]
    rows = list(one_at_a_time(model, [Candidate.of("3"), Candidate.of("5")], score, rest))
    before = score(model)  # its products are as usual again, here its own bits or full precision
    products = Switches(model).products
    assert [row.product for row in rows] == [*products, *products] and "layers.0.self_attn.qk_matmul" in products
    for row in rows[::5]:
        rules = [{"match": path, "bits": row.candidate.bits} for path in row.quantizers]
        again = quantize_model(model, "int8", rules=[*usual, *rules]).eval()
        kept = again.quantization.state_dict(again)["state"]  # those of quantizers that are on
        again.quantization.load_state_dict(again, {"state": {key: state["state"][key] for key in kept}})
        after = score(again)
        assert row.loss == pytest.approx(after.loss - before.loss, abs=1e-12), row
        assert row.drop == pytest.approx(before.score - after.score, abs=1e-12)
        assert row.change == pytest.approx(
            float((after.outputs[0] - before.outputs[0]).square().sum() / before.outputs[0].square().sum()), rel=1e-4
        )
        assert row.change > 0
    fc1 = next(row for row in rows if row.product == "layers.0.fc1")
    layer = model.layers[0].fc1
    assert fc1.parameters == layer.weight.numel() and fc1.macs == tokens.numel() * layer.weight.numel()
    assert next(row for row in rows if row.product.endswith("qk_matmul")).parameters == 0


def test_formats_and_their_bits(transformer, tokens) -> None:
    assert Candidate.of("fp4_e2m1") == Candidate("fp4_e2m1", 4, "fp4_e2m1", 4.0)
    assert Candidate.of("mxfp4").bits_per_value == 4.25 and Candidate.of("fixed_point:6").bits == 6
    for word, message in (
        ("fixed_point", "say how many bits, for example fixed_point:4"),
        ("fixed_point:x", "'x' is no number of bits"),
        ("fp4_e2m2", "unknown number format"),
        ("mxfp4:5", "has 4 bits, always"),
    ):
        with pytest.raises(ConfigError, match=message):
            Candidate.of(word)
    model = quantize_model(transformer, "mxfp4").eval()
    with pytest.raises(ConfigError, match="has 4 bits, always"):
        list(one_at_a_time(model, [Candidate.of("3")], outcome_on(tokens)))


def rows_of(seed: int, products: int, weights=(10, 20, 40)) -> list[SensitivityRow]:
    rng = random.Random(seed)
    rows = []
    for product in range(products):
        weight = rng.choice(weights)
        for bits in (2, 4, 8):
            row = SensitivityRow(
                f"layers.{product}.fc", (f"layers.{product}.fc.weight",), Candidate.of(str(bits)), weight, 1.0
            )
            row.loss = rng.random() / bits
            rows.append(row)
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_all_choices(seed) -> None:
    rows, budget = rows_of(seed, 6), 3 + seed / 3
    found = choose(rows, budget, weigh="parameters", by="loss")
    by_product = [rows[index : index + 3] for index in range(0, len(rows), 3)]
    whole = sum(options[0].parameters for options in by_product)
    affordable = [
        (sum(row.loss for row in choice), choice)
        for choice in itertools.product(*by_product)
        if sum(row.parameters * row.candidate.bits for row in choice) <= budget * whole + 1e-6
    ]
    best, choice = min(affordable, key=lambda pair: pair[0])
    assert found.expected == pytest.approx(best) and tuple(found.choices.values()) == choice
    assert found.average_bits == pytest.approx(sum(row.parameters * row.candidate.bits for row in choice) / whole)
    assert found.average_bits <= budget + 1e-9


def test_uniform_budgets_and_costs() -> None:
    rows = rows_of(3, 40)
    at_four = uniform(rows, Candidate.of("4"))
    found = choose(rows, 4, weigh="parameters", by="loss")
    assert found.expected <= sum(row.loss for row in at_four.choices.values()) and found.average_bits <= 4 + 1e-9
    assert at_four.bitops == pytest.approx(16 / 1024)
    assert {row.candidate.bits for row in choose(rows, 2, by="loss").choices.values()} == {2}
    for arguments, message in (
        ({"budget": 1.5, "by": "loss"}, "the candidates have 2 or more"),
        ({"budget": 4}, "'change' was not measured"),
        ({"budget": 4, "by": "los"}, "did you mean 'loss'"),
        ({"budget": 4, "weigh": "parameter"}, "did you mean 'parameters'"),
    ):
        with pytest.raises(ConfigError, match=message):
            choose(rows, **arguments)


def test_rules_of_a_plan_give_its_bits(transformer, tokens) -> None:
    model = quantize_model(transformer, "int8").eval()
    model.quantization.calibrate(model, [tokens])
    rows = list(one_at_a_time(model, [Candidate.of(bits) for bits in ("2", "4", "8")], outcome_on(tokens)))
    found = choose(rows, 4.5, by="change")
    assert len({row.candidate for row in found.choices.values()}) > 1
    planned = quantize_model(model, "int8", rules=found.rules()).quantization.plan
    for row in found.choices.values():
        assert [planned[path].spec.bits for path in row.quantizers] == [row.candidate.bits] * len(row.quantizers)
    own = {path for row in found.choices.values() for path in row.quantizers}
    assert own == {row.quantizer for row in planned.active if row.role != GRADIENT}
