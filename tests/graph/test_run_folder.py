"""Run folders and configurations at their edges: leaves, files of equal names, folders that come meanwhile, damage."""

import json
from pathlib import Path

import pytest
import torch

from fairseq.errors import CheckpointError, ConfigError
from fairseq.graph import load, transform
from fairseq.graph.config.settings import read_change, read_settings
from fairseq.graph.run_folder import whole_folder
from fairseq.graph.sources import load_model
from fairseq_cli import graph
from tests.graph.models import random

QUANTIZE = {"linear": {"bits": 8, "format": "symmetric"}}
CONFIG = {"model": "jsc-tiny", "inputs": ["input:float32[8,16]"], "passes": {"quantize": QUANTIZE}}
BRANCHES = """
from torch import nn
class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return self.fc(x) if x.sum().item() > 0 else self.fc(-x)
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch, self.fc, self.dropout = Branch(), nn.Linear(4, 4), nn.Dropout()
    def forward(self, x):
        return self.dropout(self.fc(self.branch(x)))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(edit) -> None:
    """Write the run folder `one`, and change its metadata."""
    transform(CONFIG, out="one")
    found = json.loads(Path("one/metadata.json").read_text())
    edit(found)
    Path("one/metadata.json").write_text(json.dumps(found))


def test_leaves_belong_to_the_folder(folder: Path, capsys, monkeypatch) -> None:
    Path("branches.py").write_text(BRANCHES)
    start = {"model": "branches.py:Model", "inputs": ["x:float32[3,4]"], "leaves": ["branch"]}
    transform({**start, "passes": {"remove": {"pattern": "dropout"}}}, out="one")
    assert load("one").leaves == ("branch",)
    quantize = {"by": "name", "fc": {"bits": 8, "format": "symmetric"}}
    second = transform({"model": "one", "passes": {"quantize": quantize}}, out="two")
    again, x = load("two"), random(3, 4)
    with torch.no_grad():
        assert again.leaves == ("branch",) and torch.equal(again(x), second.graph(x))
    monkeypatch.setattr("sys.argv", ["fairseq-graph", "types", "two"])
    graph.cli_main()
    assert "Branch" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["config.yaml", "summary.csv"])
def test_a_report_replaces_no_file_of_the_folder(folder: Path, name: str) -> None:
    transform(CONFIG, out="plain")
    transform({**CONFIG, "passes": {"quantize": QUANTIZE, "report_graph": {"file_name": name}}}, out="one")
    assert Path("one", name).read_text().splitlines()[:3] == Path("plain", name).read_text().splitlines()[:3]
    stem, _, ending = name.partition(".")
    assert "call_module" in Path("one", f"{stem}-2.{ending}").read_text()


def test_two_results_of_one_name_are_both_kept(folder: Path) -> None:
    passes = {"lora": {"by": "name", "pattern": "2"}, "insert_lora_adapter": {"by": "name", "pattern": "5"}}
    transform({"model": "jsc-toy", "passes": passes}, out="one")
    assert [Path("one", f"lora_details{end}.csv").read_text().splitlines()[1][0] for end in ("", "-2")] == ["2", "5"]


def test_a_folder_that_comes_meanwhile_is_kept(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"), whole_folder(folder / "one") as part:
        (part / "mine").touch()
        (folder / "one").mkdir()
        (folder / "one" / "theirs").touch()
    assert [path.name for path in folder.rglob("*")] == ["one", "theirs"]


def test_no_folder_without_a_name(folder: Path) -> None:
    with pytest.raises(ConfigError, match="give --out a folder's own name"):
        transform(CONFIG, out=".")


def test_a_folder_without_inputs_is_read(folder: Path) -> None:
    changed(lambda found: found.pop("inputs"))
    assert load("one").layer_types()["QLinear"] == 1


@pytest.mark.parametrize("value", [5, [5], "ab"])
def test_damaged_options_are_one_line(folder: Path, value) -> None:
    changed(lambda found: found["passes"].insert(0, {"pass": "fuse_conv_bn", "options": {"pattern": value, "by": []}}))
    with pytest.raises(CheckpointError, match="its passes cannot be repeated on its model: pass fuse_conv_bn: "):
        load("one")


def test_damaged_quantizers_are_one_line(folder: Path) -> None:
    transform(CONFIG, out="one")
    torch.save([1], "one/quantizers.pt")
    with pytest.raises(CheckpointError, match="one is damaged or of another model"):
        load("one")


# --- sources and configurations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["import sys\nsys.exit(0)\n", "import sys\ndef build():\n    sys.exit(0)\n"])
def test_a_file_that_ends_the_program(folder: Path, text: str) -> None:
    Path("ends.py").write_text(text)
    with pytest.raises(ConfigError, match=r"it ends the program \(sys\.exit\(0\)\)"):
        load_model("ends.py:build")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("deep.toml", f"seed = {'[' * 3000}{']' * 3000}", "nested too deeply"),
        ("long.toml", f"seed = {'1' * 5000}", "4300 digits"),
        ("long.yaml", f"seed: {'1' * 5000}", "4300 digits"),
    ],
)
def test_what_python_refuses_is_one_line(folder: Path, name: str, text: str, message: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name}: no configuration: .*{message}"):
        read_settings(name)


def test_a_setting_that_is_nested_too_deeply_is_a_text() -> None:
    value = f"{'[' * 3000}{']' * 3000}"
    assert read_change(f"project={value}") == {"project": value}
