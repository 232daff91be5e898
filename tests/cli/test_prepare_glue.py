"""fairseq-prepare-glue: every task becomes a data folder that says what the TSV files said."""

import subprocess
import sys

import pytest
from glue_files import make_bpe, make_glue

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.gpt2_bpe import get_encoder
from fairseq.data.glue.prepare import prepare
from fairseq.data.glue.tasks import TASKS, read_split
from fairseq.data.indexed_dataset import make_dataset
from fairseq.errors import ConfigError, DataError
from fairseq_cli import prepare_glue

ROWS = {  # train, valid of the real files
    "RTE": (2490, 277),
    "CoLA": (8551, 1043),
    "SST-2": (67349, 872),
    "STS-B": (5749, 1500),
    "WNLI": (635, 71),
}


@pytest.fixture(scope="module")
def tiny_bpe(tmp_path_factory):
    return make_bpe(tmp_path_factory.mktemp("bpe"))


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return make_glue(tmp_path_factory.mktemp("glue"))


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["fairseq-prepare-glue", *map(str, words)])
    prepare_glue.cli_main()


@pytest.mark.parametrize("name", TASKS)
def test_data_folder_says_what_the_tsv_files_said(glue, tiny_bpe, tmp_path, name):
    dest = tmp_path / f"{name}-bin"
    counts = prepare(name, glue, dest, tiny_bpe)
    task = TASKS[name]
    bpe = get_encoder(str(tiny_bpe / "encoder.json"), str(tiny_bpe / "vocab.bpe"))
    assert counts == {split: 12 if split == "train" else 5 for split in task.splits}
    assert sorted(path.name for path in dest.iterdir()) == [*[f"input{k}" for k in range(len(task.text))], "label"]
    for split in task.splits:
        examples = read_split(task, glue / name, split)
        for column, sentences in enumerate(examples.text):
            words = Dictionary.load(str(dest / f"input{column}" / "dict.txt"))
            items = make_dataset(str(dest / f"input{column}" / split), "infer")
            assert [bpe.decode(map(int, words.string(item).split())) for item in items] == sentences
            assert all(item[-1] == words.eos() for item in items)
        if task.regression and not split.startswith("test"):
            assert (dest / "label" / f"{split}.label").read_text().split() == examples.labels
        elif not split.startswith("test"):
            labels = Dictionary.load(str(dest / "label" / "dict.txt"))
            items = make_dataset(str(dest / "label" / split), "infer")
            assert [labels.string(item) for item in items] == examples.labels
    assert not list(tmp_path.glob(".*"))


def test_classes_are_numbered_by_frequency_then_alphabet(glue, tiny_bpe, tmp_path):
    folder = tmp_path / "glue" / "RTE"
    folder.mkdir(parents=True)
    rows = ["not_entailment"] * 3 + ["entailment"] * 2
    text = "index\tsentence1\tsentence2\tlabel\n" + "".join(f"{i}\ta\tb\t{y}\n" for i, y in enumerate(rows))
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text(text)
    prepare("RTE", tmp_path / "glue", tmp_path / "bin", tiny_bpe)
    assert (tmp_path / "bin" / "label" / "dict.txt").read_text().startswith("not_entailment 3\nentailment 2\n")


@pytest.mark.parametrize("name", ROWS)
def test_every_example_of_the_real_files(glue_dir, bpe_dir, tmp_path, name):
    counts = prepare(name, glue_dir, tmp_path / "bin", bpe_dir)
    assert (counts["train"], counts["valid"]) == ROWS[name]
    words = Dictionary.load(str(tmp_path / "bin" / "input0" / "dict.txt"))
    assert len(make_dataset(str(tmp_path / "bin" / "input0" / "valid"), "infer")) == ROWS[name][1]
    assert not any(words.unk() in item for item in make_dataset(str(tmp_path / "bin" / "input0" / "valid"), "infer"))


def test_command(glue, tiny_bpe, tmp_path, monkeypatch, capsys):
    run(monkeypatch, "--task", "RTE", "--glue-dir", glue / "RTE", "--bpe-dir", tiny_bpe, "--dest", tmp_path / "bin")
    assert "RTE: train 12, valid 5, test 5 examples" in capsys.readouterr().out
    run(monkeypatch, "--task", "ALL", "--glue-dir", glue, "--bpe-dir", tiny_bpe, "--dest", tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(f"{name}-bin" for name in TASKS)


def test_text_only(glue, tmp_path, monkeypatch):
    run(monkeypatch, "--task", "CoLA", "--glue-dir", glue, "--dest", tmp_path / "text", "--text-only")
    names = sorted(path.name for path in (tmp_path / "text").iterdir())
    assert names == ["test.input0", "train.input0", "train.label", "valid.input0", "valid.label"]
    assert set((tmp_path / "text" / "valid.label").read_text().split()) == {"0", "1"}


def test_existing_folder_is_kept_unless_told_otherwise(glue, tiny_bpe, tmp_path):
    dest = tmp_path / "bin"
    dest.mkdir()
    (dest / "mine").write_text("")
    with pytest.raises(DataError, match="--overwrite"):
        prepare("CoLA", glue, dest, tiny_bpe)
    assert (dest / "mine").exists()
    prepare("CoLA", glue, dest, tiny_bpe, overwrite=True)
    assert not (dest / "mine").exists() and (dest / "label").exists()


def test_a_failure_leaves_nothing_behind_and_keeps_what_was_there(glue, tiny_bpe, tmp_path):
    prepare("WNLI", glue, tmp_path / "bin", tiny_bpe)
    broken = tmp_path / "glue" / "WNLI"
    broken.mkdir(parents=True)
    (broken / "train.tsv").write_text((glue / "WNLI" / "train.tsv").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DataError, match=r"no dev\.tsv"):
        prepare("WNLI", tmp_path / "glue", tmp_path / "bin", tiny_bpe, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "glue"]
    assert (tmp_path / "bin" / "input1" / "train.bin").exists()


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--task", "RTEE"], ConfigError, "did you mean 'RTE'"),
        (["--task", "RTE", "--glue-dir", "nowhere", "--bpe-dir", "BPE"], DataError, "no folder nowhere"),
        (["--task", "RTE", "--glue-dir", "GLUE", "--bpe-dir", "nowhere"], DataError, "no dictionary nowhere/dict.txt"),
    ],
)
def test_mistakes_end_in_one_line(glue, tiny_bpe, tmp_path, monkeypatch, capsys, words, error, message):
    monkeypatch.chdir(tmp_path)
    words = [{"GLUE": glue, "BPE": tiny_bpe}.get(word, word) for word in words]
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *words)
    assert caught.value.code == error.exit_code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MNLI", "STS-B"])
def test_the_shell_script_makes_the_same_bytes(glue, tiny_bpe, tmp_path, repository, name):
    """MNLI has two development and test sets, STS-B scores."""
    import os

    environment = {**os.environ, "PYTHON": sys.executable, "BPE_DIR": str(tiny_bpe), "WORKERS": "2"}
    script = repository / "examples" / "roberta" / "preprocess_GLUE_tasks.sh"
    done = subprocess.run(
        ["bash", str(script), str(glue), name], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    prepare(name, glue, tmp_path / "ours", tiny_bpe)
    assert _files(tmp_path / "ours") == _files(tmp_path / f"{name}-bin")
    assert len(_files(tmp_path / "ours")) >= 10


def _files(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {path.relative_to(folder): path.read_bytes() for path in files}
