"""examples/tabular: the reader against files written here, nets, and whole runs by `fairseq-train --user-dir`."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from plugins import EXAMPLES, PluginRuns, plugin

from fairseq.errors import ConfigError, DataError
from fairseq.quantization import quantize_model
from fairseq.training.quantized import PLAN_FILE


@pytest.fixture(scope="module", autouse=True)
def tabular():
    with plugin("tabular") as folder:
        yield folder


def part(name):
    return sys.modules[f"tabular.{name}"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """200 rows by the script, as users run it."""
    path = tmp_path_factory.mktemp("tabular") / "jets.csv"
    command = [sys.executable, str(EXAMPLES / "tabular" / "make_table.py"), str(path), "--rows", "200"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "200 rows; best possible accuracy 9" in out
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch, capsys, table, tabular):
    flags = ["--user-dir", str(tabular), "--task", "tabular_classification", "--arch", "jsc_toy"]
    flags += ["--max-epoch", "2", "--batch-size", "40"]
    return PluginRuns(tmp_path, monkeypatch, capsys, table, *flags)


# ---- reader


def read(tmp_path, text, features=2, classes=2, **more):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return part("readers").read_table(path, features, classes, **more)


@pytest.mark.parametrize(
    "text",
    ["1.5,-2,0\n3,4e1,1\n", "a,b,class\n1.5,-2,0\n\n3,4e1,1.0", '"a, b",b,class\r\n 1.5 , -2 ,0\r\n3,"40",1\r\n'],
    ids=["no header", "header", "quotes and white space"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_table(tmp_path, text, packed):
    features, labels = read(tmp_path, gzip.compress(text.encode()) if packed else text)
    assert features.tolist() == [[1.5, -2.0], [3.0, 40.0]] and labels.tolist() == [0, 1]
    assert (features.dtype, labels.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("column", ["0", "-3", "class"])
def test_the_class_in_another_column(tmp_path, column):
    features, labels = read(tmp_path, "class,a,b\n1,5,6\n", label_column=column)
    assert features.tolist() == [[5.0, 6.0]] and labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv has no rows"),
        ("a,b,class\n", "a.csv has no rows"),
        ("1,2,0\n1,2\n", "line 2: 2 columns, expected 2 features and the class"),
        ("a,b\n1,2\n", "line 1: 2 columns, .*--num-features"),
        ("a,b,class\n1,2,0\n1,x,0\n", "line 3: expected a number, found 'x'"),
        ("1,nan,0\n", "line 1: expected a number, found 'nan'"),
        ("1,2,0\n1,2,2\n", "line 2: class '2' is none of 0 to 1; .*--num-classes"),
        ("1,2,0.5\n", "class '0.5' is none of 0 to 1"),
        (gzip.compress(b"1,2,0\n")[:-9], "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_damaged_tables(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("column", "message"), [("clas", "did you mean 'class'"), ("3", "has 3 columns")])
def test_no_such_column(tmp_path, column, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, "a,b,class\n1,2,0\n", label_column=column)


def test_real_table(shared_data):
    features, labels = part("readers").read_table(shared_data / "htru2" / "pulsar_stars.csv.gz", 8, 2)
    assert features.shape == (17898, 8) and labels.sum() == 1639


# ---- generated data


def test_generated_tables_repeat_and_their_best_accuracy_is_bayes_rule():
    sys.path.insert(0, str(EXAMPLES / "tabular"))
    try:
        from make_table import SPREAD, make_table
    finally:
        sys.path.remove(str(EXAMPLES / "tabular"))
    features, labels, best = make_table(2000, seed=3)
    again = make_table(2000, seed=3)
    assert np.array_equal(features, again[0]) and np.array_equal(labels, again[1])
    assert not np.array_equal(features, make_table(2000, seed=4)[0])
    means = torch.tensor(SPREAD * np.random.default_rng(3).standard_normal((5, 2, 16)))
    parts = torch.distributions.MultivariateNormal(means, torch.eye(16, dtype=torch.float64))
    likelihood = parts.log_prob(torch.tensor(features)[:, None, None]).logsumexp(-1)
    assert float((likelihood.argmax(1).numpy() == labels).mean()) == pytest.approx(best)


# ---- nets


def names(model):
    return [type(layer).__name__ for layer in model.layers]


def test_nets_of_the_literature():
    jsc = part("models.jsc_mlp")
    tiny, toy, small = jsc.jsc_tiny(), jsc.jsc_toy(), jsc.jsc_s()
    assert names(tiny) == ["BatchNorm1d", "ReLU", "Linear", "ReLU"]
    assert sum(parameter.numel() for parameter in tiny.parameters()) == 117
    assert names(toy) == ["BatchNorm1d", "ReLU", "Linear"] * 3 + ["BatchNorm1d", "ReLU"]
    linear = [layer for layer in small.layers if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (16, 64), (64, 32), (32, 32), (32, 32), (32, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("preset", ["int8", "w4", "mxfp8"])
def test_every_layer_is_quantized(preset):
    model = quantize_model(part("models.jsc_mlp").jsc_toy(), preset)
    weights = [row.quantizer for row in model.quantization.plan.active if row.role == "weight"]
    assert weights == ["layers.2.weight", "layers.5.weight", "layers.8.weight"]


# ---- runs


@pytest.mark.parametrize("flags", [(), ("--quantization", "int8")], ids=["float", "int8"])
def test_trained_resumed_and_validated(runs, flags):
    runs.trained("whole", *flags)
    assert len(runs.losses("whole")) == 8  # 160 rows in batches of 40, twice
    runs.trained("parts", *flags, "--max-update", "6")
    runs.trained("parts", *flags)
    runs.assert_same_run("whole", "parts")
    assert f"accuracy {runs.last('whole', 'valid')['accuracy']:g} |" in runs.validated("whole")
    assert "accuracy" in runs.validated("whole", "--valid-subset", "test")
    if flags:
        plan = json.loads((runs.folder / "whole" / PLAN_FILE).read_text())["plan"]
        assert [row["quantizer"] for row in plan if row["quantizer"].endswith(".weight")] == [
            "layers.2.weight", "layers.5.weight", "layers.8.weight",
        ]  # fmt: skip


def test_tiny_learns(runs):
    runs.trained("run", "--arch", "jsc_tiny", "--max-epoch", "30")
    assert runs.checkpoint("run")["cfg"]["model"]["hidden_sizes"] == []
    assert runs.last("run", "train")["accuracy"] > 40  # 20 by chance


def test_a_folder_and_the_splits_of_one_file(runs, table, tmp_path):
    task = part("tasks.tabular_classification")
    cfg = task.TabularClassificationConfig(data=str(table), valid_share=0.2)
    whole = task.TabularClassificationTask(cfg)
    for split in ("train", "valid", "test"):
        whole.load_dataset(split)
    assert {split: len(data) for split, data in whole.datasets.items()} == {"train": 140, "valid": 40, "test": 20}
    rows = torch.cat([data.features for data in whole.datasets.values()])
    assert len(torch.unique(rows, dim=0)) == 200  # each row once
    for split in ("train", "valid"):
        (tmp_path / f"{split}.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    assert "Loaded valid with #samples: 200" in runs.trained("run", "--max-update", "1", data=tmp_path).out


def test_a_config(runs, tabular, table, tmp_path):
    words = ["--config-dir", str(tabular / "config"), "--config-name", "jsc", f"task.data={table}", "common.cpu=true"]
    words += [f"common.user_dir={tabular}", "optimization.max_epoch=1", f"checkpoint.save_dir={tmp_path / 'run'}"]
    result = runs.hydra(*words, f"hydra.run.dir={tmp_path / 'hydra'}")
    assert result.code == 0, result.err
    assert (tmp_path / "run" / "checkpoint_best.pt").exists()


def test_errors_are_one_line(runs, tmp_path):
    assert "no data folder" in runs.error(data=tmp_path / "absent.csv")
    assert "line 1: 17 columns, expected 8 features and the class" in runs.error("--num-features", "8")
    assert "is neither a CSV file nor a folder with valid.csv" in runs.error(data=EXAMPLES)
    assert "split 'valid' of" in runs.error("--valid-share", "0")
    assert "model.hidden_sizes (--hidden-sizes) must be 1 or more" in runs.error("--hidden-sizes", "4,0")
    assert "did you mean 'jsc_tiny'" in runs.error("--arch", "jsc_tny")
