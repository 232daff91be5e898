"""Checkpoints that fairseq-graph transform has written: evaluated, trained, continued and packed like any other."""

import pytest
import torch

from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.errors import CheckpointError
from fairseq.graph import load, transform
from fairseq.graph.input_pruning import pruned_layers
from fairseq.graph.masks import broken_masks, named_masks
from fairseq.models.roberta import RobertaModel
from fairseq.quantization import get_quantization
from fairseq_cli import quantize_checkpoint, validate

QUANTIZE = {"linear": {"config": {
    "name": "integer", "data_in_width": 8, "data_in_frac_width": 5, "weight_width": 8, "weight_frac_width": 6,
    "bias_width": "NA",
}}}  # fmt: skip
CONFIG = {
    "passes": {
        "prune": {"sparsity": 0.5, "by": "regex", "pattern": r"encoder.*\.fc[12]"},
        "remove": {"by": "regex", "pattern": r".*layers\.0\.final_layer_norm"},
        "quantize": QUANTIZE,
        "prune_activations": {"sparsity": 0.25, "by": "regex", "pattern": r"encoder.*\.fc2"},
    }
}


@pytest.fixture
def transformed(runs):
    """The folder of a transformed run."""
    runs.trained("run", "--max-update", 1)
    transform(CONFIG, str(runs.folder / "run" / "checkpoint_last.pt"), out=runs.folder / "changed")
    return runs.folder / "changed"


def validated(runs, path) -> str:
    words = [runs.data, "--task", "sentence_prediction", "--path", path, "--batch-size", 4, "--cpu", "--num-workers", 0]
    result = runs.call(validate.cli_main, words)
    assert result.code == 0, result.err
    return result.out


def test_evaluated_as_it_was_written(runs, transformed) -> None:
    graph = load(transformed)
    (model,), cfg, _ = load_model_ensemble_and_task([str(transformed / "checkpoint.pt")])
    model.eval()
    with torch.no_grad():
        found = model(**graph.inputs, num_bits=None)[0]
        assert torch.equal(found, graph.model(**graph.inputs)[0])
    assert set(named_masks(model)) == {f"encoder.sentence_encoder.layers.0.fc{number}.weight" for number in (1, 2)}
    assert cfg.quantization.preset == "int8" and "classification_heads.sentence_classification_head.dense" in str(
        get_quantization(model).plan
    )
    assert [name.rpartition(".")[2] for name, _ in pruned_layers(model)] == ["fc2"]
    assert "accuracy" in validated(runs, transformed / "checkpoint.pt")


@pytest.mark.parametrize("flag", ["--finetune-from-model", "--restore-file"])
def test_trained_on(runs, transformed, flag: str) -> None:
    """With its masks and its quantizers, which nobody names again; the run continues and is packed like any other."""
    resets = () if flag.startswith("--fine") else ("--reset-optimizer", "--reset-dataloader", "--reset-meters")
    start = runs.checkpoint("changed", "checkpoint.pt")["model"]
    result = runs.trained("next", flag, transformed / "checkpoint.pt", *resets, "--max-update", 2)
    assert "transforms are kept" in result.out
    after = runs.checkpoint("next")
    masks = {key: value for key, value in after["model"].items() if key.endswith("_mask")}
    assert len(masks) == 2 and all(torch.equal(value, start[key]) for key, value in masks.items())
    for key, mask in masks.items():
        weight = after["model"][key.removesuffix("_mask")]
        assert not weight[~mask].any() and not torch.equal(weight, start[key.removesuffix("_mask")])
    assert [step["pass"] for step in after["transforms"]["passes"]] == [
        "prune",
        "remove",
        "quantize",
        "prune_activations",
    ]
    runs.trained("next", flag, transformed / "checkpoint.pt", "--max-update", 4)
    model = load_model_ensemble_and_task([str(runs.folder / "next" / "checkpoint_last.pt")])[0][0]
    assert broken_masks(model) == [] and get_quantization(model) is not None
    packed = runs.folder / "packed.pt"
    words = [runs.folder / "next" / "checkpoint_last.pt", "--out", packed]
    assert runs.call(quantize_checkpoint.cli_main, words).code == 0
    validated(runs, packed)


def test_passes_on_the_head_that_the_task_calls(runs) -> None:
    """A checkpoint says which head its passes saw; files from before say nothing, and saw that of the vocabulary."""
    runs.trained("run", "--max-update", 1)
    source = str(runs.folder / "run" / "checkpoint_last.pt")
    config = {"passes": {"remove": {"by": "regex", "pattern": r".*layers\.0\.final_layer_norm"}}}
    done = transform(config, source, out=runs.folder / "changed")
    graph, state = load(runs.folder / "changed"), runs.checkpoint("changed", "checkpoint.pt")
    assert graph.inputs["classification_head_name"] == state["transforms"]["head"] == "sentence_classification_head"
    assert not any("lm_head" in info.name for info in graph.nodes)
    with torch.no_grad():
        found, expected = graph.model(**graph.inputs)[0], done.graph.model(**done.graph.inputs)[0]
    assert found.shape == (2, 2) and torch.equal(found, expected)
    older = runs.checkpoint("run")
    older["model"] = {key: value for key, value in older["model"].items() if "lm_head.layer_norm" not in key}
    step = {"pass": "remove", "options": {"by": "name", "pattern": "encoder.lm_head.layer_norm"}}
    torch.save({**older, "transforms": {"passes": [step], "inputs": [], "leaves": []}}, runs.folder / "older.pt")
    model = load_model_ensemble_and_task([str(runs.folder / "older.pt")])[0][0]
    assert not list(model.encoder.lm_head.layer_norm.parameters())


def test_damaged_transforms_are_one_line(runs, transformed) -> None:
    state = runs.checkpoint("changed", "checkpoint.pt")
    for found, message in (
        ("quantize", "no list of passes"),
        ({"passes": [{"pass": "prunne", "options": {}}]}, "unknown pass 'prunne'; did you mean 'prune'?"),
        ({"passes": [{"pass": "remove", "options": {"pattern": "nothing"}}]}, "cannot be repeated"),
    ):
        torch.save({**state, "transforms": found}, runs.folder / "damaged.pt")
        with pytest.raises(CheckpointError, match=message):
            load_model_ensemble_and_task([str(runs.folder / "damaged.pt")])


def test_an_attribute_of_that_name_is_the_models_own(runs, monkeypatch) -> None:
    monkeypatch.setattr(RobertaModel, "transforms", ("resize", "crop"), raising=False)
    runs.trained("run", "--max-update", 1)
    assert "transforms" not in runs.checkpoint("run")
    load_model_ensemble_and_task([str(runs.folder / "run" / "checkpoint_last.pt")])
