"""task=sentence_ranking from the command line; its batches are compared with fairseq's in tests/conformance."""

import shutil

import pytest

from fairseq import checkpoint_utils
from fairseq.data import Dictionary, indexed_dataset

FLAGS = ("--task", "sentence_ranking", "--criterion", "sentence_ranking", "--separator-token", "2")


def write(folder, split, lines):
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    builder = indexed_dataset.make_builder(str(folder / f"{split}.bin"), "mmap", len(dictionary))
    for line in lines:
        builder.add_item(dictionary.encode_line(line, add_if_not_exist=False).int())
    builder.finalize(str(folder / f"{split}.idx"))


@pytest.fixture(scope="module")
def choices(tmp_path_factory, data):
    """The pairs of the other tests; second, and right, candidates are always the same words."""
    folder = tmp_path_factory.mktemp("choices") / "bin"
    for name in ("input0", "input1"):
        shutil.copytree(data / name, folder / name)
    shutil.copytree(data / "input0", folder / "input2")
    (folder / "label").mkdir()
    for split, size in (("train", 26), ("valid", 11), ("valid1", 5)):
        write(folder / "input2", split, ["w0 w1 w0"] * size)
        (folder / "label" / f"{split}.label").write_text("1\n" * size)
    return folder


def test_trains_and_needs_no_data_afterwards(runs, choices, tmp_path):
    folder = tmp_path / "choices"
    shutil.copytree(choices, folder)
    out = runs.trained("run", *FLAGS, "--max-epoch", "4", "--dropout", "0", data=folder).out
    assert "| accuracy 100 |" in out
    shutil.rmtree(folder)
    (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "run" / "checkpoint_last.pt")])
    assert cfg.task._name == "sentence_ranking" and len(task.source_dictionary) == 25
    assert model.classification_heads["sentence_classification_head"].out_proj.out_features == 1


def test_by_yaml_names(runs, choices, tmp_path):
    words = ["task=sentence_ranking", f"task.data={choices}", "task.num_classes=2", "task.separator_token=2"]
    words += ["criterion=sentence_ranking", "criterion.ranking_head_name=chooser", "model=roberta", "optimizer=adam"]
    words += ["model.encoder_layers=1", "model.encoder_embed_dim=8", "model.encoder_ffn_embed_dim=8"]
    words += ["model.encoder_attention_heads=2", "dataset.batch_size=4", "optimization.max_update=2", "common.cpu=true"]
    words += ["lr_scheduler=fixed", "optimization.lr=[0.01]", f"checkpoint.save_dir={tmp_path / 'run'}"]
    result = runs.hydra(*words, "dataset.num_workers=0")
    assert result.code == 0, result.err
    assert "classification_heads.chooser.dense.weight" in runs.checkpoint("run")["model"]


def test_what_is_wrong_with_the_data(runs, choices, tmp_path):
    def said(damage, *flags):
        folder = tmp_path / damage.__name__
        shutil.copytree(choices, folder)
        damage(folder)
        result = runs.train("run", *FLAGS, *flags, data=folder)
        assert result.code != 0 and result.err.count("\n") == 1
        return result.err

    def nothing(folder):
        pass

    def two_of_two(folder):
        (folder / "label" / "valid.label").write_text("0\n1\n2\n" * 4)

    def too_few(folder):
        (folder / "label" / "valid.label").write_text("0\n1\n")

    def shorter(folder):
        write(folder / "input2", "valid", ["w1"])

    def third_candidate(folder):
        shutil.copytree(folder / "input2", folder / "input3")

    assert "task.num_classes=2 (--num-classes), but" in said(third_candidate)
    assert "has no input3/valid.idx; task.num_classes=3 needs input0" in said(nothing, "--num-classes", "3")
    assert "valid.label, line 3: 2 is none of the candidates 0 to 1" in said(two_of_two)
    assert "valid.label: 2 labels for 11 examples of split 'valid'" in said(too_few)
    assert "has 11 examples in input0 but 1 in input2" in said(shorter)
