"""Profiles of models against what hooks of the test see, and errors of quantizers against their definitions."""

import copy
import math

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError, DataError
from fairseq.graph.profile import profile
from fairseq.graph.profile_output import csv_text, json_rows
from fairseq.quantization import quantize_model
from fairseq.quantization.quantized_model import quantization_of
from fairseq.quantization.quantizer import Quantizer


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 3))


def batches() -> list[torch.Tensor]:
    return [torch.randn(size, 6, generator=torch.Generator().manual_seed(size)) for size in (4, 9)]


def test_weights_and_activations_by_type() -> None:
    model, data = small().train(), batches()
    rows = profile(model, data, match=["linear"], weights=["variance_precise"],
                   activations={"range_quantile": {"quantile": 0.9}, "variance_precise": {}})  # fmt: skip
    assert [(row.module, row.tensor) for row in rows] == [
        (path, tensor) for path in ("0", "3") for tensor in ("weight", "bias")
    ] + [(path, tensor) for path in ("0", "3") for tensor in ("input", "output")]
    found = {(row.module, row.tensor): row.statistics for row in rows}
    weight = model[0].weight.detach().double()
    assert found["0", "weight"]["variance_precise"] == pytest.approx(
        {"mean": float(weight.mean()), "variance": float(weight.var()), "count": 48}, rel=1e-12
    )
    with torch.no_grad():
        hidden = model.eval()[:3](torch.cat(data))
    expected = torch.quantile(hidden.double(), 0.9)
    assert found["3", "input"]["range_quantile"]["max"] == pytest.approx(float(expected), rel=1e-6)
    assert found["3", "input"]["range_quantile"]["count"] == 13 * 8
    assert found["3", "input"]["variance_precise"]["variance"] == pytest.approx(float(hidden.var()), rel=1e-5)


def test_input_is_seen_before_it_changes_in_place() -> None:
    rows = profile(small(), batches(), by="name", match=["1"], activations=["range_min_max"])
    low = {row.tensor: row.statistics["range_min_max"]["min"] for row in rows}
    assert low["input"] < 0 and low["output"] == 0


def test_model_is_as_before_also_after_an_error() -> None:
    model = nn.Sequential(small(), nn.BatchNorm1d(3)).train()
    model[0].eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    for data in (batches(), [*batches(), torch.ones(2, 5)]):
        try:
            profile(model, data)
        except RuntimeError as error:
            assert "shapes cannot be multiplied" in str(error)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model.training and not model[0][0].training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("preset", ["int8", "w4", "mxfp8"])
def test_errors_of_quantizers_equal_their_definitions(preset: str) -> None:
    torch.manual_seed(1)
    model = quantize_model(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)), preset).eval()
    data = [torch.randn(5, 64), 3 * torch.randn(7, 64)]
    quantization_of(model).calibrate(model, data)
    rows = profile(model, data, match=["Linear"], weights=["range_min_max"], activations=["range_min_max"])
    seen: dict[str, list] = {}

    class Look:
        def quantized(self, quantizer, x, result, num_bits, reused):
            seen.setdefault(quantizer.path, []).append((x.double().clone(), result.double().clone()))

        def product(self, *args):
            pass

    context = quantization_of(model).context
    assert context.callbacks == []
    with context.with_callback(Look()), torch.no_grad():
        for x in data:
            model(x)
    errors = {row.module: row.statistics["error"] for row in rows if row.tensor == "error"}
    inputs = {path for path in errors if path.endswith(".input")}
    assert {"0.weight", "2.weight"} <= set(errors) and len(inputs) == (0 if preset == "w4" else 2)
    quantizers = {module.path: module for module in model.modules() if isinstance(module, Quantizer)}
    for path, error in errors.items():
        if path in inputs:
            x, rounded = (torch.cat(parts) for parts in zip(*seen[path], strict=True))
        else:
            weight = model.get_submodule(path.partition(".")[0]).weight.detach()
            x, rounded = weight.double(), quantizers[path].fake(weight, int(error["bits"])).double()
        noise = rounded - x
        assert error["count"] == x.numel()
        assert error["relative_l2"] == pytest.approx(float(noise.norm() / x.norm()), rel=1e-4)
        assert error["sqnr"] == pytest.approx(20 * math.log10(x.norm() / noise.norm()), rel=1e-4)
        cosine = torch.cosine_similarity(x.flatten(), rounded.flatten(), dim=0)
        assert error["cosine"] == pytest.approx(float(cosine), rel=1e-5)
        assert error["bias"] == pytest.approx(float(noise.mean()), abs=1e-6)
        axis = 0 if path in inputs else 1
        ratio = noise.square().sum(axis) / x.square().sum(axis)
        assert error["worst_channel"] == int(ratio.argmax())
        assert error["worst_channel_sqnr"] == pytest.approx(-10 * math.log10(ratio.max()), rel=1e-4)
        after = next(row for row in rows if (row.module, row.tensor) == (path, "after"))
        assert after.statistics["range_min_max"]["max"] == float(rounded.max())


def test_share_clipped() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(4, 4, bias=False)), {
        "preset": "int8", "rules": [{"match": "*.input", "format": {"format": "fixed_point", "frac_width": 4}}]
    }).eval()  # fmt: skip
    x = torch.tensor([[0.5, 1.0, 100.0, -100.0]])  # 8 bits with 4 behind the point reach from -8 to 7.9375
    (error,) = (row for row in profile(model, [x], activations=[]) if (row.module, row.tensor) == ("0.input", "error"))
    assert error.statistics["error"]["clipped"] == 50.0


def test_a_model_that_is_one_layer() -> None:
    model = quantize_model(nn.Linear(8, 4), "mxfp8").eval()
    rows = profile(model, [{"input": torch.randn(3, 8)}], match=["linear"])
    assert [row.tensor for row in rows if row.module == ""] == ["weight", "bias", "input", "output"]
    assert [row.module for row in rows if row.tensor == "error"] == ["weight", "input"]


def test_rows_as_csv_and_json() -> None:
    rows = profile(small(), batches(), by="regex", match=["[03]"], weights=["variance_online"], activations=["record"])
    lines = csv_text(rows).splitlines()
    assert lines[0].split(",")[:4] == ["module", "type", "tensor", "variance_online.mean"] and len(lines) == 9
    recorded = next(row for row in json_rows(rows) if row["tensor"] == "input")
    assert len(recorded["statistics"]["record"]["data"]) == 13 * 6


def test_one_line_for_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="no module has the type 'linaer'; the nearest: Linear"):
        profile(small(), batches(), match=["linaer"])
    with pytest.raises(ConfigError, match="no module has the name '00'; the nearest: 0"):
        profile(small(), batches(), by="name", match=["00"])
    with pytest.raises(ConfigError, match="regular expression"):
        profile(small(), batches(), by="regex", match=["("])
    with pytest.raises(ConfigError, match="did you mean 'name'"):
        profile(small(), batches(), by="names", match=["0"])
    with pytest.raises(ConfigError, match="did you mean 'record'"):
        profile(small(), [], weights=["recrd"])
    with pytest.raises(DataError, match="calls none of these modules"):
        profile(nn.MultiheadAttention(4, 2), [(torch.ones(2, 1, 4),) * 3], by="name", match=["out_proj"])
