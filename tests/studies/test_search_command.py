"""`fairseq-search` from a file to best.yaml and best.toml, which the other commands run as they are."""

import csv
import json

import pytest
import yaml

from fairseq.dataclass.initialize import compose
from fairseq.errors import ConfigError, FairseqError
from fairseq.graph.transforming import transform
from fairseq.quantization.quantized_model import get_quantization
from fairseq.studies.one_run import run_training
from fairseq.studies.search.config import build_config
from fairseq.studies.search.loaded_model import Reader
from fairseq.studies.search.run import run_search


def search(config_dir, out, say=lambda line: None, **document):
    document = {"config_dir": str(config_dir), "config_name": "tiny", "holdout": 25, "trials": 2, **document}
    return run_search(build_config(document), out, say)


def rows_of(out):
    with open(out / "trials.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


OF_THE_MOMENT = ("seconds", "peak_memory", "trial", "study", "sampler")


def numbers(row):
    """What a trial has reached, without times and memory of the process."""
    return {key: value for key, value in row.items() if key not in OF_THE_MOMENT}


ARCHITECTURE = {
    "architecture": {"model.encoder_layers": [1, 2], "model.encoder_attention_heads": [2, 4]},
    "space": {"model.dropout": {"low": 0.0, "high": 0.2}},
    "objectives": ["accuracy", "parameters"],
}


@pytest.fixture(scope="module")
def searched(config_dir, tmp_path_factory):
    """An architecture search that has ended."""
    out = tmp_path_factory.mktemp("search") / "out"
    said = []
    search(config_dir, out, said.append, samplers=["random", "tpe"], **ARCHITECTURE)
    return out, said


def test_a_search_writes_its_tables_plots_and_the_best(searched):
    out, said = searched
    assert [row["study"] for row in rows_of(out)] == ["random-1"] * 2 + ["tpe-1"] * 2
    assert all(row["state"] == "complete" and float(row["value parameters"]) > 0 for row in rows_of(out))
    table = (out / "table.md").read_text()
    assert "## Pareto front" in table and "| model.encoder_attention_heads | 4 |" in table and "once on valid" in table
    for name in ("best_so_far.png", "pareto.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert any("tpe-1 trial 2: accuracy" in line for line in said) and f"wrote {out / 'best.yaml'}" in said


def test_best_yaml_trains_as_it_is_to_the_score_on_the_test_split(searched, tmp_path):
    out, _ = searched
    test = json.loads((out / "test.json").read_text())
    values = yaml.safe_load((out / "best.yaml").read_text())
    assert values["dataset"].get("train_subset", "train") == "train" and values["model"]["encoder_layers"] in (1, 2)
    again = run_training([], config_dir=out, config_name="best", folder=tmp_path / "best")
    assert test["subset"] == "valid" and again.metrics["accuracy"] == test["metrics"]["accuracy"]
    assert again.metrics["loss"] == test["metrics"]["loss"]


def test_the_same_command_again_runs_nothing(searched, config_dir):
    out, _ = searched
    before = rows_of(out)
    said = []
    search(config_dir, out, said.append, samplers=["random", "tpe"], **ARCHITECTURE)
    assert rows_of(out) == before and not any(" trial " in line and "scoring" not in line for line in said)


def test_the_selection_is_a_part_of_train_that_is_not_trained_on(searched):
    out, _ = searched
    results = [json.loads(path.read_text()) for path in (out / "runs").glob("*/result.json")]
    assert results
    for result in results:
        assert {"dataset.train_subset='train[:75%]'", "dataset.valid_subset='train[75%:]'"} <= set(result["words"])


def test_equal_trials_give_equal_values_and_none_after_a_quantized_trial_is_unquantized(config_dir, tmp_path):
    """Two studies with the same cells, in other orders; each cell is really run."""
    search(
        config_dir, tmp_path, reuse=False, samplers=["grid", "brute_force"], trials=2, test=None,
        precision={"choices": ["none", "symmetric/4"], "modules": ["*layers*"]},
        objectives=["loss", "average_bits"], common=["optimization.max_update=2"],
    )  # fmt: skip
    cells = {}
    for row in rows_of(tmp_path):
        key = next(value for name, value in row.items() if name.startswith("choice"))
        cells.setdefault(key, []).append(numbers(row))
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 4
    assert cells["none"][0] == cells["none"][1] and cells["symmetric/4"][0] == cells["symmetric/4"][1]
    assert float(cells["none"][0]["average_bits"]) == 32 > float(cells["symmetric/4"][0]["average_bits"])
    assert cells["none"][0]["loss"] != cells["symmetric/4"][0]["loss"]


@pytest.fixture(scope="module")
def compressed(config_dir, tmp_path_factory):
    """A search over compression whose best trial was scored."""
    out = tmp_path_factory.mktemp("compress") / "out"
    search(
        config_dir, out, samplers=["random"], objectives=["loss"], trials=1,
        precision={"apply": "after", "choices": ["symmetric/3", "mxfp4"], "group": "kind"},
        compress={
            "passes": {"prune": {"sparsity": {"choices": [0.3, 0.6]}}},
            "finetune": ["optimization.max_update=2"],
            "stages": ["none", "compressed", "finetuned"],
        },
    )  # fmt: skip
    return out


def test_compression_has_a_curve_for_each_stage_and_every_stages_numbers(compressed):
    rows = rows_of(compressed)
    assert [row["stage"] for row in rows] == ["none", "compressed", "finetuned"]
    assert all(row["state"] == "complete" for row in rows)
    last = rows[2]
    assert {float(last[f"{stage}/average_bits"]) for stage in ("compressed", "finetuned")} == {
        float(last["average_bits"])
    } and float(last["average_bits"]) < 5 and float(last["none/average_bits"]) == 32  # fmt: skip
    assert len({last[f"{stage}/loss"] for stage in ("none", "compressed", "finetuned")}) == 3
    assert rows[0]["loss"] == rows[1]["none/loss"] == last["none/loss"]
    assert (compressed / "compression.png").read_bytes().startswith(b"\x89PNG")
    assert not list((compressed / "runs").glob("*/checkpoint*.pt"))  # what nobody needs any more


def test_best_toml_makes_the_model_that_was_scored(compressed, config_dir, tmp_path):
    done = transform(compressed / "best.toml", out=tmp_path / "run")
    model = done.graph.model
    test = json.loads((compressed / "test.json").read_text())
    weight = model.encoder.sentence_encoder.layers[0].fc1.weight
    sparsity = float(next(row["choice prune.sparsity"] for row in rows_of(compressed) if row["study"] == test["study"]
                          and int(row["trial"]) == test["trial"]))  # fmt: skip
    assert abs(float((weight == 0).float().mean()) - sparsity) < 0.01
    assert get_quantization(model) is not None
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    cfg = compose("tiny", config_dir, ["checkpoint.save_dir=unused"])
    assert Reader(cfg, "valid").load(checkpoint).scores()["loss"] == test["stages"]["compressed"]["loss"]


def test_a_pruned_trial_is_neither_lost_nor_complete(config_dir, tmp_path):
    space = {"optimization.lr": [[0.01], [1e-8]]}
    search(
        config_dir, tmp_path, space=space, objectives=["loss"], samplers=["grid"], test=None,
        common=["dataset.validate_interval_updates=1"],
        pruner={"name": "threshold", "upper": 0.0},
    )  # fmt: skip
    assert [row["state"] for row in rows_of(tmp_path)] == ["pruned", "pruned"]


def test_architectures_that_are_the_same_model_are_refused(config_dir, tmp_path):
    for architecture, message in (
        ({"model.encoder_layers": [1, 2], "model.load_checkpoint_heads": [True, False]}, "give the same model of"),
        ({"model.num_layers": [1, 2]}, "num_layers"),
        ({"model.encoder_attention_heads": [3, 5]}, "no choice gives a model"),
    ):
        with pytest.raises(FairseqError, match=message) as error:
            search(config_dir, tmp_path / "out", architecture=architecture, objectives=["accuracy"])
        assert "\n" not in str(error.value)


def test_an_objective_that_nobody_reports_ends_the_search(config_dir, tmp_path):
    with pytest.raises(ConfigError, match="does not report mcc; it reports loss, nll_loss, accuracy"):
        search(config_dir, tmp_path, space={"model.dropout": [0.0, 0.1]}, objectives=["mcc"])


def test_a_trial_that_cannot_run_is_listed_and_the_search_goes_on(config_dir, tmp_path):
    space = {"model.encoder_attention_heads": [3, 2]}
    search(config_dir, tmp_path, space=space, objectives=["accuracy"], samplers=["grid"], test=None)
    states = {row["choice model.encoder_attention_heads"]: row["state"] for row in rows_of(tmp_path)}
    assert states == {"2": "complete", "3": "failed"}
    assert "## Failed: 1" in (tmp_path / "table.md").read_text()
    with pytest.raises(ConfigError, match="the first 3 trials have failed; the last one"):
        space = {"model.encoder_attention_heads": [3, 5, 6]}
        search(config_dir, tmp_path / "bad", space=space, objectives=["accuracy"], samplers=["grid"], trials=3)
