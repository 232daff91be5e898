"""fairseq-graph transform: one file drives all passes; the run folder gives the same model again, bit for bit."""

import copy
import csv
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from fairseq.errors import ConfigError, FairseqError
from fairseq.graph import load, transform
from fairseq.graph.passes.registry import PASSES, run_pass
from fairseq.graph.sources import load_model
from fairseq.graph.tracing import trace
from fairseq_cli import graph
from tests.graph.models import random

CODE = """
from torch import nn
not_a_model = 3
def build():
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU())
def other():
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5))
"""
TOML = """
model = "model.py:build"
inputs = ["input:float32[8,16]"]

[passes.report_graph]

[passes.quantize]
by = "type"
[passes.quantize.default.config]
name = "NA"
[passes.quantize.linear.config]
name = "integer"
data_in_width = 8
data_in_frac_width = 4
weight_width = 8
weight_frac_width = 4
bias_width = 8
bias_frac_width = 4

[passes.prune]
sparsity = 0.25
"""
YAML = """
model: model.py:build
inputs: ["input:float32[8,16]"]
passes:
  report_graph:
  quantize:
    by: type
    default: {config: {name: null}}
    linear:
      config: {name: integer, data_in_width: 8, data_in_frac_width: 4, weight_width: 8, weight_frac_width: 4,
               bias_width: 8, bias_frac_width: 4}
  prune: {sparsity: 0.25}
"""
# a file as the labs have it; with MASE's words only
LAB = """
model = "jsc-tiny"
dataset = "jsc"
task = "cls"
max_epochs = 5
batch_size = 512
learning_rate = 1e-2
accelerator = "gpu"
project = "lab2"
seed = 42
log_every_n_steps = 5
load_name = "best.pt"
load_type = "pt"

[passes.add_common_metadata]
[passes.quantize]
by = "type"
report = true
[passes.quantize.default.config]
name = "NA"
[passes.quantize.linear.config]
name = "integer"
"data_in_width" = 8
"data_in_frac_width" = 4
"weight_width" = 8
"weight_frac_width" = 4
"bias_width" = 8
"bias_frac_width" = 4
[passes.summarize_quantization]
save_dir = "quantize_summary"
[passes.report_node_meta_param]
which = ["common"]
save_path = "somewhere/meta.md"
[transform]
style = "graph"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"model.py": CODE, "q.toml": TOML, "q.yaml": YAML, "lab.toml": LAB}.items():
        (tmp_path / name).write_text(text)
    torch.save(load_model("jsc-tiny").state_dict(), tmp_path / "best.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["fairseq-graph", *map(str, words)])
    graph.cli_main()
    return capsys.readouterr().out


def result_of(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("result "))


def test_toml_and_yaml_make_the_same_model(monkeypatch, capsys, folder: Path) -> None:
    out = run(monkeypatch, capsys, "transform", "--config", "q.toml", "--out", "one")
    other = run(monkeypatch, capsys, "transform", "--config", "q.yaml", "--out", "two")
    assert result_of(out) == result_of(other)
    lines = [line.split() for line in out.splitlines()]
    assert ["Linear", "1", "1", "0"] in lines and ["ReLU", "2", "0", "2"] in lines
    assert ["2.weight", "80", "20", "0.25"] in lines
    changed = run(monkeypatch, capsys, "transform", "--config", "q.yaml", "--set", "passes.prune.sparsity=0.5")
    assert result_of(changed) != result_of(out) and "wrote graph-runs/q" in changed
    again = run(monkeypatch, capsys, "transform", "--config", folder / "one" / "config.yaml")
    assert result_of(again) == result_of(out)


def test_a_run_folder_gives_the_same_model(monkeypatch, capsys, folder: Path) -> None:
    done = transform("q.toml", out="one")
    with torch.no_grad():
        expected = done.graph.model(random(8, 16))
        torch.manual_seed(7)
        again = load("one")
        assert torch.equal(again(random(8, 16)), expected) and torch.equal(again.model(random(8, 16)), expected)
    with open("one/summary.csv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["changed"] == "True"] == ["2"]
    assert Path("one/histogram.csv").read_text().splitlines()[2] == "Linear,1,1,0"
    metadata = json.loads(Path("one/metadata.json").read_text())
    assert [step["pass"] for step in metadata["passes"]] == ["quantize", "prune"]
    assert metadata["result"] == done.fingerprint and metadata["quantization"]["plan"][0]["bits"] == 8
    assert yaml.safe_load(Path("one/config.yaml").read_text())["model"] == f"{folder}/model.py:build"
    assert set(torch.load("one/state_dict.pt", weights_only=True)) == set(done.graph.model.state_dict())
    assert "call_module" in Path("one/report_graph.txt").read_text()
    data = json.loads(run(monkeypatch, capsys, "diff", "one", "one", "--json"))
    assert len(data["nodes"]) == 4 and not any(row["changed"] for row in data["nodes"])
    types = json.loads(run(monkeypatch, capsys, "report", "one", "--json"))["layer_types"]
    assert types == {"BatchNorm1d": 1, "ReLU": 2, "QLinear": 1}


def test_a_run_folder_is_transformed_again(folder: Path) -> None:
    transform("q.toml", out="one")
    done = transform({"passes": {"prune": {"sparsity": 0.5}}}, "one", out="two")
    with torch.no_grad():
        assert torch.equal(load("two")(random(8, 16)), done.graph.model(random(8, 16)))
    assert [step["pass"] for step in json.loads(Path("two/metadata.json").read_text())["passes"]] == [
        "quantize", "prune", "prune"
    ]  # fmt: skip


def test_the_file_of_the_labs_runs_as_it_is(monkeypatch, capsys, folder: Path) -> None:
    out = run(monkeypatch, capsys, "transform", "--config", "lab.toml")
    lines = out.splitlines()
    (unused,) = [line for line in lines if line.startswith("no effect here: ")]
    assert unused == "no effect here: dataset, task, max_epochs, batch_size, learning_rate, accelerator, " \
        "log_every_n_steps, transform"  # fmt: skip
    assert "passes that have nothing to do here: add_common_metadata" in lines
    assert ["Linear", "1", "1", "0"] in [line.split() for line in lines] and lines[-1] == "wrote graph-runs/lab2"
    assert "placeholder" in Path("graph-runs/lab2/meta.md").read_text()
    model, weights = load("graph-runs/lab2").model, torch.load("best.pt", weights_only=True)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in weights.items())


STATISTICS = """
model = "model.py:build"
inputs = ["input:float32[8,16]"]
seed = 3
[passes.profile_statistics]
by = "type"
target_weight_nodes = ["batch_norm1d", "linear"]
target_activation_nodes = ["relu"]
num_samples = 32
[passes.profile_statistics.weight_statistics]
variance_precise = {device = "cpu", dims = "all"}
[passes.profile_statistics.activation_statistics.range_quantile]
device = "cpu"
dims = "all"
quantile = 0.97
[passes.report_node_meta_param]
which = ["software"]
"""


def test_statistics_by_a_file_are_those_of_the_pass(monkeypatch, capsys, folder: Path) -> None:
    (folder / "p.toml").write_text(STATISTICS)
    out = run(monkeypatch, capsys, "profile", "--config", "p.toml")
    done = transform("p.toml", out="one")
    assert out.strip() == str(dict(done.results)["profile_statistics"]) == Path(
        "one/profile_statistics.txt"
    ).read_text().strip()  # fmt: skip
    rows = json.loads(run(monkeypatch, capsys, "profile", "--config", "p.toml", "--json"))["rows"]
    assert [(row["module"], row["tensor"]) for row in rows[:4]] == [
        ("0", "weight"), ("0", "bias"), ("2", "weight"), ("2", "bias")
    ]  # fmt: skip
    weight, found = done.graph.model[2].weight, rows[2]["statistics"]["variance_precise"]
    assert found["count"] == 80 and found["variance"] == pytest.approx(weight.var().item(), rel=1e-6)
    assert rows[4]["statistics"]["range_quantile"]["count"] == 32 * 16
    assert "weight variance_precise: mean" in Path("one/report_node_meta_param.txt").read_text()
    transform("q.toml", out="two")
    points = run(monkeypatch, capsys, "profile", "two", "--config", "p.toml", "--set",
                 "passes.profile_statistics.points=true")  # fmt: skip
    assert "2.weight  weight quantizer" in points


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "passes.profile_statistics.by=nam"), "unknown way to select 'nam'"),
        (("--set", "passes.profile_statistics.target_weight_nodes=['lineer']"), "the nearest: Linear"),
        (("--set", "passes.profile_statistics.weight_statistics={varianc = {}}"), "did you mean 'variance_"),
        (("--set", "passes.profile_statistics.targets=1"), "unknown option 'targets' in profile_statistics"),
        (("--set", "passes.profile_statistics.num_samples=0"), "num_samples: must be a whole number from 1 on"),
        (("--set", "passes.profile_statistics.weight_statistics={abs_mean = {dims = [0]}}"), "only 'all' is known"),
        (("--set", "inputs=[]"), "activations need inputs"),
        (("--match", "linear"), "--match: the statistics are those of --config"),
    ],
)
def test_profile_says_in_one_line_what_is_wrong(monkeypatch, capsys, folder: Path, words, message: str) -> None:
    (folder / "p.toml").write_text(STATISTICS)
    monkeypatch.setattr(sys, "argv", ["fairseq-graph", "profile", "--config", "p.toml", *words])
    with pytest.raises(SystemExit) as end:
        graph.cli_main()
    captured = capsys.readouterr()
    assert end.value.code not in (0, None) and not captured.out
    assert captured.err.count("\n") == 1 and message in captured.err


FUNCTIONS = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8)
    def forward(self, x):
        return nn.functional.relu(nn.functional.relu(self.fc(x)).tanh())
"""


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"pattern": "relu"}, ["fc", "tanh"]),
        ({"pattern": "relu", "by": "name"}, ["fc", "tanh", "relu"]),
        ({"pattern": "relu(_1)?|tanh", "by": "regex"}, ["fc"]),
    ],
)
def test_calls_of_functions_are_removed_by_a_file(folder: Path, options, left: list[str]) -> None:
    (folder / "functions.py").write_text(FUNCTIONS)
    config = {"model": "functions.py:Net", "inputs": ["x:float32[2,16]"], "passes": {"remove": options}}
    done = transform(config, out="one")
    assert [node.name for node in done.graph.nodes if node.kind.startswith("call")] == left
    with torch.no_grad():
        assert torch.equal(load("one")(random(2, 16)), done.graph.model(random(2, 16)))
    with pytest.raises(ConfigError, match=r"; functions are chosen by type or .* such as relu, tanh, relu_1$"):
        transform({**config, "passes": {"remove": {"pattern": "rleu"}}})


def test_passes_and_their_options_are_listed(monkeypatch, capsys, folder: Path) -> None:
    rows = {row["pass"]: row for row in json.loads(run(monkeypatch, capsys, "passes", "--json"))["passes"]}
    assert set(rows) == set(PASSES) and "conv_bn_fusion" in rows["fuse_conv_bn"]["also called"]
    assert all(row["does"].endswith(".") and "described" not in row["does"] for row in rows.values())
    assert "summarize_quantization" in run(monkeypatch, capsys, "passes")
    traced = trace(torch.nn.Linear(2, 2))
    for name in set(rows) - {"quantize", "fuse_lora"}:  # patterns, and nothing at all
        found = json.loads(run(monkeypatch, capsys, "passes", name, "--json"))
        listed = {word for row in found["options"] for word in (row["option"], row["also called"]) if word}
        with pytest.raises(ConfigError, match="choose from") as error:
            run_pass(traced, name, {"#": 1})
        known = set(str(error.value).partition("choose from ")[2].split(", "))
        shown = run(monkeypatch, capsys, "passes", name)
        assert listed <= known and not [word for word in known - {"scores"} if word not in shown], name
        assert all(len(row["meaning"]) > 10 and row["default"] for row in found["options"])


def test_options_of_a_pass_come_with_meaning_and_default(monkeypatch, capsys, folder: Path) -> None:
    found = json.loads(run(monkeypatch, capsys, "passes", "insert_lora_adapter", "--json"))
    assert found["pass"] == "lora" and {
        "option": "alpha", "also called": "lora_alpha", "default": "8.0", "meaning": "adapters are multiplied by "
        "alpha / rank."
    } in found["options"]  # fmt: skip
    assert "It has no options." in run(monkeypatch, capsys, "passes", "fuse_lora")
    assert "PATTERN" in run(monkeypatch, capsys, "passes", "quantize")
    monkeypatch.setattr(sys, "argv", ["fairseq-graph", "passes", "prunee"])
    with pytest.raises(SystemExit):
        graph.cli_main()
    assert capsys.readouterr().err == "error: unknown pass 'prunee'; did you mean 'prune'?\n"


def test_settings_have_a_source_each(monkeypatch, capsys, folder: Path) -> None:
    words = ("--set", "passes.quantize.linear.config.data_in_width=6", "--set", "seed=3", "--load", "best.pt")
    out = run(monkeypatch, capsys, "transform", "--config", "q.toml", *words)
    rows = {line.split()[0]: line.split()[1:] for line in out.split("\n\n")[0].splitlines()}
    assert rows["passes.quantize.linear.config.data_in_width"] == ["6", "--set"] and rows["seed"] == ["3", "--set"]
    assert rows["passes.quantize.linear.config.weight_width"] == ["8", "file"] and rows["load_type"] == [
        "auto", "default"
    ]  # fmt: skip
    assert rows["load_name"] == ["best.pt", "flag"]


OWN = """
from torch import nn
from fairseq.graph import register_pass
@register_pass("halve_for_this_test")
def halve(graph, options):
    from fairseq.graph.tracing import trace
    graph.model[2].out_features = options["features"]
    graph.model[2].weight = nn.Parameter(graph.model[2].weight[: options["features"]])
    graph.model[2].bias = nn.Parameter(graph.model[2].bias[: options["features"]])
    return trace(graph.model, graph.inputs), "halved"
def build():
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
"""


def test_a_pass_of_the_file_of_the_model(folder: Path) -> None:
    """Its file is run once, however often the model is made; the folder is read back by the same pass."""
    (folder / "own.py").write_text(OWN)
    config = {"model": "own.py:build", "inputs": ["input:float32[8,16]"],
              "passes": {"halve_for_this_test": {"features": 4}, "quantize": {"linear": {"bits": 4}}}}  # fmt: skip
    try:
        done = transform(config, out="one")
        with torch.no_grad():
            assert torch.equal(load("one")(random(8, 16)), done.graph.model(random(8, 16)))
        assert done.graph.model[2].weight.shape == (4, 16) and dict(done.results)["halve_for_this_test"] == "halved"
        with pytest.raises(FairseqError, match="pass halve_for_this_test: KeyError: 'features'; check its options"):
            transform({**config, "passes": {"halve_for_this_test": {}}})
    finally:
        PASSES._entries.pop("halve_for_this_test", None)


def test_from_python_with_a_module(folder: Path) -> None:
    config = {"inputs": ["input:float32[8,16]"], "passes": {"quantize": {"linear": {"bits": 4}}}}
    model = load_model("model.py:build")
    done = transform(config, model, out="one")
    assert done.graph.model is model and config["passes"] == {"quantize": {"linear": {"bits": 4}}}
    fresh = load("one", load_model("model.py:build"))
    with torch.no_grad():
        assert torch.equal(fresh(random(8, 16)), model(random(8, 16)))
    with pytest.raises(FairseqError, match="its model was made in Python"):
        load("one")


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        ((), 'model = "none.py:build"\n[passes.quantize]', "none.py:build: no file none.py"),
        ((), 'model = "model.py:not_a_model"\n[passes.quantize]', "neither an nn.Module nor a function"),
        (("--input", "inptu:float32[8,16]"), TOML, "did you mean 'input'?"),
        (("--set", "passes.quantize.linaer.bits=4"), TOML, "no module of type 'linaer' in Sequential; nearest is"),
        (("--set", "passes.quantise.linear.bits=4"), TOML, "unknown pass 'quantise' in bad: passes; did you mean"),
        (("--set", "modle=x.py:f"), TOML, "unknown key 'modle' in bad.toml; did you mean 'model'?"),
        (
            ("--set", "zzz=1"),
            TOML,
            "unknown key 'zzz' in bad.toml; choose from inputs, leaves, load_name, load_type, model",
        ),
        (("--set", "seed"), TOML, "must be KEY=VALUE"),
        (("--set", "seed=-1"), TOML, "seed: needs a whole number"),
        ((), 'model = "a"\npasses = [\n', "bad.toml, line 3, column 1: no TOML"),
        ((), 'model = "a\n', "bad.toml, line 1, column 11: no TOML"),
        ((), 'model = "model.py:build"', "names no passes"),
        ((), "[passes.quantize]\nlinear = {bits = 4}", "names no model"),
        (("--load", "best.pt"), TOML.replace("build", "other"), "checkpoint best.pt is of another model than Sequen"),
        (("--load", "none.ckpt"), TOML, "none.ckpt does not exist"),
        (("--load", "best.pt", "--load-type", "pl"), TOML, "best.pt is no checkpoint of Lightning"),
        (("--load-type", "pll"), TOML, "unknown load_type 'pll'"),
        (("--set", "passes.prune.sparsty=0.5"), TOML, "unknown option 'sparsty' in prune"),
        (("--set", "passes.prune.seed='x'"), TOML, "pass prune: "),
        (("--out", "best.pt"), TOML, "cannot write best.pt: it is a file"),
    ],
)
def test_one_line_for_what_is_wrong(monkeypatch, capsys, folder: Path, words, text: str, message: str) -> None:
    (folder / "bad.toml").write_text(text)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["fairseq-graph", "transform", "--config", "bad.toml", *words])
    with pytest.raises(SystemExit) as end:
        graph.cli_main()
    captured = capsys.readouterr()
    assert end.value.code not in (0, None) and not captured.out
    assert captured.err.count("\n") == 1 and message in captured.err
    assert [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: a\nmodel: b\n", "bad.yaml, line 2, column 1: no YAML: 'model' is there already"),
        ("model: [a\n", "bad.yaml, line 2, column 1: no YAML"),
        ("model: !!python/name:os.system\n", "bad.yaml, line 1, column 8: no YAML: could not determine a constructor"),
        ("- model\n", "needs settings such as"),
        ("model: a\npassses: {quantize: }\n", "unknown key 'passses' in bad.yaml; did you mean 'passes'?"),
    ],
)
def test_one_line_for_wrong_yaml(folder: Path, text: str, message: str) -> None:
    Path("bad.yaml").write_text(text)
    with pytest.raises(FairseqError) as error:
        transform("bad.yaml", out="one")
    assert message in str(error.value) and not Path("one").exists()


def test_a_folder_that_is_there_is_kept(folder: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    for overwrite, message in ((False, "is there already"), (True, "is no run folder")):
        with pytest.raises(FairseqError, match=message):
            transform("q.toml", out="mine", overwrite=overwrite)
    transform("q.toml", out="one")
    with pytest.raises(FairseqError, match="is there already; give another --out, or --overwrite"):
        transform("q.toml", out="one")
    transform("q.toml", out="one", changes=["passes.prune.sparsity=0.5"], overwrite=True)
    assert "0.5" in Path("one/config.yaml").read_text() and Path("mine/notes.txt").read_text() == "x"
    assert [transform("q.toml", write=True).folder for _ in range(2)] == [Path("graph-runs/q"), Path("graph-runs/q-2")]
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_a_damaged_or_changed_folder_is_one_line(folder: Path) -> None:
    transform("q.toml", out="one")
    (folder / "model.py").write_text(CODE.replace("16, 5", "16, 6"))
    with pytest.raises(FairseqError, match="of another model than"):
        load("one")
    state = Path("one/state_dict.pt")
    state.write_bytes(state.read_bytes()[:300])
    (folder / "model.py").write_text(CODE)
    with pytest.raises(FairseqError, match="damaged"):
        load("one")
    Path("one/metadata.json").write_text("{")
    with pytest.raises(FairseqError, match=r"metadata.json cannot be read"):
        load("one")


def test_mase_prunes_weights_and_activations_in_one_pass(folder):
    half = {"scope": "local", "granularity": "elementwise", "method": "l1-norm", "sparsity": 0.5}
    quantize = {"linear": {"name": "integer", "weight_width": 8, "data_in_width": 8}}
    config = {"model": "jsc-tiny", "passes": {"quantize": quantize, "prune": {"weight": half, "activation": half}}}
    given = copy.deepcopy(config)
    done = transform(config, out="run")
    assert config == given
    assert [name for name, _ in done.results] == ["quantize", "prune", "prune_activations"]
    loaded, linear = load("run").model, done.graph.model[2]
    x = torch.randn(8, 16)
    assert torch.equal(loaded.eval()(x), done.graph.model.eval()(x))
    assert (linear.weight == 0).sum() == linear.weight.numel() // 2
    assert "input: magnitude 0.5 pruned" in str(next(row.after for row in done.summary().rows if row.name == "2"))


def test_a_scope_that_activations_do_not_have_is_refused(folder):
    passes = {"prune": {"weight": {"sparsity": 0.5}, "activation": {"scope": "global", "sparsity": 0.5}}}
    with pytest.raises(ConfigError, match="unknown option 'scope' in prune_activations"):
        transform({"model": "jsc-tiny", "passes": passes})
