"""Weights of other programs: Lightning's own file, torch.save, safetensors; read as data, refused in one line."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fairseq.errors import CheckpointError
from fairseq.graph import prune, quantize, transform
from fairseq.graph.sources import load_model
from fairseq.graph.weights import load_weights, read_weights
from tests.graph.models import jsc_tiny, random

LIGHTNING = Path(__file__).parents[1] / "fixtures" / "lightning"


def test_a_file_of_lightning() -> None:
    """Written by Lightning 2.6, with classes of its author among the hyperparameters, none of which is here."""
    saved = torch.load(LIGHTNING / "outputs.pt", weights_only=True)
    for load_type in ("auto", "pl"):
        model = jsc_tiny().eval()
        notes = load_weights(model, str(LIGHTNING / "best.ckpt"), load_type)
        assert notes == ["weights of 'model.seq_blocks.'; 1 other left out (loss.weight)"]
        with torch.no_grad():
            assert torch.equal(model(saved["input"]), saved["output"])
    config = {"model": "jsc-tiny", "passes": {"report_graph": {}}}
    done = transform(config, load=str(LIGHTNING / "best.ckpt"), load_type="pl")
    with torch.no_grad():
        assert torch.equal(done.graph(saved["input"]), saved["output"])
    model = load_model("jsc-tiny")
    load_weights(model, str(LIGHTNING / "best.ckpt"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 117


@pytest.mark.parametrize("part", [None, "state_dict", "model_state_dict"])
def test_torch_save_and_safetensors(tmp_path: Path, part) -> None:
    model, fresh = jsc_tiny().eval(), jsc_tiny().eval()
    state = model.state_dict()
    torch.save(state if part is None else {part: state, "epoch": 3, "args": Path("x")}, tmp_path / "a.pt")
    save_file(state, tmp_path / "b.safetensors")
    for name in ("a.pt", "b.safetensors"):
        assert load_weights(fresh, str(tmp_path / name)) == []
        assert torch.equal(fresh(random(8, 16)), model(random(8, 16)))


def test_masks_come_along(tmp_path: Path) -> None:
    model = jsc_tiny().eval()
    graph, _ = prune(model, 0.5, inputs=random(8, 16))
    quantize(graph, {"linear": {"bits": 4}})
    torch.save({"state_dict": {f"net.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "a.pt")
    fresh = jsc_tiny().eval()
    load_weights(fresh, str(tmp_path / "a.pt"))
    assert torch.equal(fresh[2].weight_mask, model[2].weight_mask) and not fresh[2].weight[~fresh[2].weight_mask].any()


class Config:
    pass


class Runs:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


class Asks:
    def __reduce__(self):
        import os

        return (os.system, ("true",))


@pytest.mark.parametrize("evil", [Runs(), Asks()], ids=["exec", "system"])
def test_code_is_refused_by_name(tmp_path: Path, evil) -> None:
    torch.save({"state_dict": jsc_tiny().state_dict(), "hyper_parameters": {"x": evil}}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"refers to (builtins.exec|posix.system|os.system).*nothing was run"):
        read_weights(str(tmp_path / "evil.ckpt"))
    torch.save({"state_dict": jsc_tiny().state_dict(), "hyper_parameters": Config()}, tmp_path / "own.ckpt")
    assert "2.weight" in read_weights(str(tmp_path / "own.ckpt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: nn.Sequential(nn.Linear(16, 5)).state_dict(),
            "of another model than Sequential: .*; 5 weights missing",
        ),
        (lambda: {**jsc_tiny().state_dict(), "2.weight": torch.ones(4, 16)}, r"2.weight is \[4, 16\] in the file"),
        (lambda: {**jsc_tiny().state_dict(), "4.bias": torch.ones(4)}, r"1 that the model does not have \(4.bias\)"),
        (jsc_tiny, "holds a whole model, whose code is not run here"),
        (lambda: {"epoch": 3}, "holds no weights, but epoch"),
        (lambda: [1], "holds no state dict, but a list"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, content, message: str) -> None:
    torch.save(content(), tmp_path / "a.pt")
    model = jsc_tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as error:
        load_weights(model, str(tmp_path / "a.pt"))
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
def test_files_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_weights(str(tmp_path / name))
    (tmp_path / name).write_bytes(b"not a file of weights at all")
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(str(tmp_path / name))


def test_several_models_in_one_file(tmp_path: Path) -> None:
    """Those of `model.` are taken, as Lightning's are; of others nobody can say which."""
    model, fresh = jsc_tiny().eval(), jsc_tiny().eval()
    with torch.no_grad():
        model[2].weight.add_(1)
    for name, message in (("model", None), ("student", "under 'ema.', 'student.'; save those of one")):
        state = {f"{name}.{key}": value for key, value in model.state_dict().items()}
        torch.save({**state, **{f"ema.{key}": value for key, value in fresh.state_dict().items()}}, tmp_path / "a.pt")
        if message is None:
            load_weights(fresh, str(tmp_path / "a.pt"))
            assert torch.equal(fresh[2].weight, model[2].weight)
        else:
            with pytest.raises(CheckpointError, match=message):
                load_weights(fresh, str(tmp_path / "a.pt"))
