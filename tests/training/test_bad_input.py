"""What a user can get wrong ends in one line on stderr, a non-zero exit code, and with every checkpoint intact."""

import struct

import pytest
import torch

from fairseq.checkpoint import writing

from conftest import WORDS, make_data  # isort: skip


def assert_one_line(result, *words) -> None:
    assert result.code not in (0, None), result.out[-2000:]
    assert "Traceback" not in result.out + result.err
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and result.err.count("error: ") == 1, result.err
    for word in words:
        assert word in lines[0], lines[0]


def truncate(folder):
    path = folder / "input0" / "train.bin"
    path.write_bytes(path.read_bytes()[:-10])


def foreign_version(folder):
    path = folder / "input0" / "valid.idx"
    content = bytearray(path.read_bytes())
    content[9:17] = struct.pack("<Q", 7)
    path.write_bytes(content)


def no_index(folder):
    (folder / "input1" / "train.idx").unlink()


def no_dictionary(folder):
    (folder / "input0" / "dict.txt").unlink()


DAMAGE = [
    (truncate, ["input0/train.bin"]),
    (foreign_version, ["input0/valid.idx", "version 7"]),
    (no_index, ["input1/train"]),
    (no_dictionary, ["input0/dict.txt"]),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_damaged_data(runs, tmp_path, damage, words):
    folder = make_data(tmp_path / "damaged")
    damage(folder)
    assert_one_line(runs.train("run", data=folder), *words)


def test_missing_data_folder(runs, tmp_path):
    assert_one_line(runs.train("run", data=tmp_path / "nowhere"), "nowhere")


def test_label_out_of_range(runs, tmp_path):
    folder = make_data(tmp_path / "three", label_names=("no", "yes", "maybe"))
    assert_one_line(runs.train("run", data=folder), "label", "num_classes")


@pytest.mark.parametrize("sizes", [{"train": 0}, {"valid": 0}], ids=str)
def test_empty_split(runs, tmp_path, sizes):
    folder = make_data(tmp_path / "empty", **sizes)
    assert_one_line(runs.train("run", data=folder), next(iter(sizes)), "empty")


WRONG_FLAGS = [
    (["--batch-sise", "4"], ["--batch-sise", "--batch-size"]),
    (["--valid-subset", "tset"], ["tset"]),
    (["--trainable", '["classification_head.*"]'], ["classification_head.*", "classification_heads.sentence"]),
    (["--restore-file", "nowhere.pt"], ["nowhere.pt"]),
    (["--fp16", "--bf16"], ["fp16", "bf16"]),
    (["--best-checkpoint-metric", "acuracy"], ["acuracy", "accuracy"]),
    (["--user-dir", "nowhere"], ["nowhere"]),
    (["--num-classes", "0"], ["--num-classes", "at least 1"]),
    (["--num-classes", "-1"], ["num_classes"]),
    (["--num-classes", "3"], ["task.num_classes=3", "label/dict.txt", "2 labels: no, yes"]),
    (["--num-classes", "1"], ["task.num_classes=1", "label 'yes'"]),
    (["--init-token", "31"], ["task.init_token=31", "input0/dict.txt", "tokens 0 to 24"]),
    (["--update-freq", "0"], ["--update-freq", "at least 1"]),
]


@pytest.mark.parametrize(("flags", "words"), WRONG_FLAGS, ids=lambda value: " ".join(value))
def test_wrong_flags(runs, flags, words):
    result = runs.train("run", *flags)
    assert_one_line(result, *words)
    assert "num_updates=1," not in result.out and "update 1" not in result.err


def test_no_batch_size(runs, monkeypatch):
    argv = runs.argv("run")
    at = argv.index("--batch-size")
    monkeypatch.setattr(runs, "argv", lambda *_, **__: argv[:at] + argv[at + 2 :])
    assert_one_line(runs.train("run"), "batch_size", "max_tokens")


def test_unknown_key_under_hydra(runs, data):
    words = ["task=sentence_prediction", "model=roberta", f"task.data={data}", "model.dropuot=0.1"]
    assert_one_line(runs.hydra(*words), "dropuot", "dropout")


def test_save_dir_that_is_a_file(runs, tmp_path):
    (tmp_path / "run").write_text("")
    assert_one_line(runs.train("run"), "save_dir")


@pytest.fixture
def saved(runs):
    """A run of one epoch, and a function that says whether its checkpoints are as they were."""
    runs.trained("run", "--max-epoch", "1")
    before = {path: path.read_bytes() for path in (runs.folder / "run").glob("*.pt")}
    assert len(before) == 2

    def intact() -> bool:
        return {path: path.read_bytes() for path in (runs.folder / "run").glob("*")} | before == {
            path: path.read_bytes() for path in (runs.folder / "run").glob("*")
        } and not [
            path for path in (runs.folder / "run").iterdir() if path.suffix not in (".pt", ".jsonl", ".json", ".log")
        ]

    return intact


def test_disk_full_while_saving(runs, saved, monkeypatch):
    real = torch.save

    def full(state, file, *args, **kwargs):
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.torch, "save", full)
    assert_one_line(runs.train("run"), "checkpoint", "No space left on device")
    assert saved()
    monkeypatch.setattr(writing.torch, "save", real)
    runs.trained("run")


def test_corrupted_checkpoint(runs, saved):
    path = runs.folder / "run" / "checkpoint_last.pt"
    path.write_bytes(path.read_bytes()[:2000])
    assert_one_line(runs.train("run"), "checkpoint_last.pt")


def test_dictionary_that_does_not_fit(runs, saved, tmp_path):
    folder = make_data(tmp_path / "more", words=[*WORDS, "another"])
    assert_one_line(runs.train("run", data=folder), "checkpoint_last.pt", "input0/dict.txt", "'another'")
    assert saved()


def test_nan_loss(runs, saved, monkeypatch):
    from fairseq.models.roberta import RobertaModel

    build = RobertaModel.build_model.__func__

    def broken(cls, args, task):
        model = build(cls, args, task)
        fc2 = model.encoder.sentence_encoder.layers[0].fc2
        fc2.register_forward_hook(lambda module, inputs, output: output / 0 if fc2.training else output)
        return model

    monkeypatch.setattr(RobertaModel, "build_model", classmethod(broken))
    assert_one_line(runs.train("run"), "update 8", "encoder.sentence_encoder.layers.0.fc2")
    assert saved()


def test_infinite_learning_rate(runs):
    assert_one_line(runs.train("run", "--lr", "1e38", "--warmup-updates", "0"), "update 2", "parameter")
