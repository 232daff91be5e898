"""What a study's file may say, and what it becomes."""

import re
import shlex

import pytest

from fairseq.errors import ConfigError
from fairseq.studies.braces import fill, named
from fairseq.studies.config_reader import from_text, read_config
from fairseq.studies.grid import expand
from fairseq.studies.study_config import as_yaml

WHOLE = """
config_dir: conf
config_name: tiny
common: [a.b=1, quantization=int8]
dimensions:
  task: {rte: [task.data=RTE], cola: {set: [task.data=CoLA], metric: mcc, config_name: cola, cost: 2}}
  quantization.num_bits: [4, 012]
rows:
  fp32: {set: [quantization=none], without: [quantization.num_bits]}
  qat: {set: ["model.pattern=2:4"], seeds: [3, 1]}
  more:
    set: ["checkpoint.restore_file={after}/checkpoint_last.pt", "x={task}-{seed}"]
    after: fp32
    only: {task: [rte]}
seeds: 1 2 3
metric: accuracy
control: fp32
"""


def cells(text, *words):
    return {cell.name: cell for cell in expand(from_text(text, words))}


def test_a_grid():
    found = cells(WHOLE)
    assert len(found) == 2 * 3 + 2 * 2 * 2 + 2 * 3
    cell = found["qat-cola-num_bits012-seed3"]
    assert cell.dimensions == {"task": "cola", "quantization.num_bits": "012"}
    assert (cell.row, cell.seed, cell.metric, cell.cost) == ("qat", 3, "mcc", 2.0)
    assert cell.steps[0].line() == (
        "fairseq-hydra-train --config-dir conf --config-name cola a.b=1 quantization=int8 task.data=CoLA "
        "quantization.num_bits=012 model.pattern=2:4 common.seed=3"
    )
    assert found["fp32-rte-seed2"].overrides == ["a.b=1", "task.data=RTE", "quantization=none", "common.seed=2"]
    more = found["more-rte-num_bits4-seed2"]
    assert more.after == "fp32-rte-seed2"
    assert "x=rte-2" in more.overrides
    assert "checkpoint.restore_file={after}/checkpoint_last.pt" in more.overrides  # filled when it runs


def test_words_replace_keys_of_the_file():
    found = cells(WHOLE, "seeds=[9]", "rows.qat.cost=3", "dimensions.task={rte: [task.data=R]}")
    assert {cell.seed for cell in found.values()} == {9, 3, 1}
    assert found["qat-rte-num_bits4-seed3"].cost == 3
    assert not any("cola" in name for name in found)


def test_steps():
    text = """
    rows: {a: [x=1], b: {set: {qat: [y=2]}}}
    steps:
      train: {}
      ptq:
        command: fairseq-quantize-checkpoint
        set: ["{train}/checkpoint_last.pt", --out, "{here}/q.pt", --seed, "{seed}"]
      qat: ["checkpoint.restore_file={train}/checkpoint_last.pt"]
    """
    first, second = cells(text).values()
    assert [step.folder for step in first.steps] == ["train", "ptq", "qat"]
    assert first.steps[1].words == ["{train}/checkpoint_last.pt", "--out", "{here}/q.pt", "--seed", "1"]
    assert "x=1" in first.steps[0].words and "x=1" in first.steps[2].words
    assert "y=2" in second.steps[2].words and "y=2" not in second.steps[0].words


def test_commands_of_flags():
    text = "{command: fairseq-train, common: [DATA], dimensions: {--lr: [0.1, 0.2]}, rows: {a: [--cpu]}}"
    found = cells(text)
    assert list(found) == ["a-lr0.1-seed1", "a-lr0.2-seed1"]
    assert found["a-lr0.2-seed1"].overrides == ["DATA", "--lr", "0.2", "--cpu", "--seed", "1"]


def test_the_file_that_a_study_leaves_asks_for_the_same():
    study = from_text(WHOLE)
    again = from_text(as_yaml(study, ["x"]))
    assert again == study
    assert expand(again) == expand(study)
    steps = from_text("{rows: {b: {set: {qat: [y=2]}}}, steps: {train: {}, qat: [z=1]}}")
    assert from_text(as_yaml(steps, [])) == steps


def test_the_documentation(repository):
    text = (repository / "docs/studies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    whole = [block for block in blocks if "config_dir" in block]
    assert [len(expand(from_text(block))) for block in whole] == [4, 2 * 3 + 2 * 5 * 3]
    (steps,) = (block for block in blocks if "steps" in block)
    chained = expand(from_text("command: fairseq-hydra-train\nrows:\n  fp32: []\n" + steps))
    assert [step.name for step in chained[1].steps] == ["prune", "score", "tune"]
    assert expand(read_config(repository / "examples/acceptability/study.yaml"))


def test_folders():
    folders = {"after": "/tmp/a b", "train": "/tmp/c"}
    assert fill("f={train}/x.pt", folders, hydra=True) == "f=/tmp/c/x.pt"
    assert fill("f={after}/x'.pt", folders, hydra=True) == r"f='/tmp/a b/x\'.pt'"
    assert fill("{after}/x.pt", folders, hydra=False) == "/tmp/a b/x.pt"
    assert fill("a={{train}}", folders, hydra=True) == "a={train}"
    assert fill("a={x:1}", folders, hydra=True) == "a={x:1}"


def test_braces_of_words_are_shown_as_the_command_gets_them():
    """`--list` and pages print command lines that can be typed."""
    text = """
    rows:
      first: []
      a: {after: first, set: ['quantization.rules=[{{match: "*.grad_output"}}]', 'x={after}/a.{row}', '{{row}}={here}']}
    """
    step = cells(text)["a-seed1"].steps[0]
    words = ['quantization.rules=[{match: "*.grad_output"}]', "x={after}/a.a", "{row}={here}"]
    assert shlex.split(step.line())[1:-1] == words
    assert list(named(step.words)) == ["after", "here"]
    assert fill(step.words[2], {"here": "/tmp"}) == "{row}=/tmp"


@pytest.mark.parametrize(
    "text, message",
    [
        ("{rows: {a: []}, seed: [1]}", "the study: unknown key 'seed'; did you mean 'seeds'?"),
        ("{seeds: [1]}", "rows: there are none"),
        ("[1]", "the file must hold keys"),
        ("rows: [", "line 1: expected the node content"),
        ("{rows: {a: []}, rows: {b: []}}", "line 1: 'rows' is there twice"),
        ("{rows: {a: {sett: []}}}", "unknown key 'sett' in rows.a; did you mean 'set'?"),
        ("{rows: {a: [{quantization: none}]}}", "rows.a must be a list of words"),
        ("{rows: {a: 3}, seeds: [1, x]}", "seeds must be a list of whole numbers"),
        ("{rows: {a: []}, seeds: [1, 1]}", "seeds: one is there twice"),
        ("{rows: {a: {cost: x}}}", "rows.a.cost must be a number, got 'x'"),
        ("{rows: {a: {cost: 0}}}", "rows.a.cost must be above 0"),
        ("{rows: {a/b: []}}", "rows: 'a/b' cannot be a name"),
        ("{rows: {..: []}}", "rows: '..' cannot be a name"),
        ("{rows: {a: {after: b}}}", "unknown row 'b' in rows.a.after"),
        ("{rows: {a: {after: b}, b: {after: a}}}", "a after b after a has no beginning"),
        ("{rows: {a: {only: {task: [x]}}}}", "unknown dimension 'task' in rows.a"),
        ("{rows: {a: []}, control: fp32}", "unknown row 'fp32' in control"),
        ("{rows: {a: []}, keep_checkpoints: some}", "unknown value 'some' in keep_checkpoints"),
        ("{rows: {a: []}, dimensions: {x: []}}", "dimensions.x: there are no values"),
        ("{rows: {a: []}, dimensions: {x: [1, 1]}}", "dimensions.x: a value is there twice"),
        ("{rows: {a: {set: {tune: []}}}}", "unknown step 'tune' in rows.a.set"),
        ("{rows: {a: []}, steps: {seed: []}}", "'seed' cannot name a step"),
        ("{rows: {a: {command: x, steps: {train: {}}}}}", "rows.a: give command or steps, not both"),
    ],
)
def test_what_cannot_be_used(text, message):
    with pytest.raises(ConfigError) as error:
        from_text(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{rows: {a: ['x={tain}']}, steps: {train: {}}}", "unknown name in braces 'tain' in rows.a"),
        ("{rows: {a: {after: b}, b: {seeds: [7]}}}", "a-seed1 starts after b-seed1, which the study does not have"),
        ("{rows: {a: [], a-x: []}, dimensions: {t: {x: [], x-x: []}}}", "two cells are called a-x-x-seed1"),
    ],
)
def test_grids_that_do_not_work(text, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        expand(from_text(text))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the study .*: No such file"):
        read_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no text file"):
        read_config(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match="'seeds' is no setting; write KEY=VALUE"):
        from_text("{rows: {a: []}}", ["seeds"])
