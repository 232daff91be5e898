"""Reading GLUE's TSV files: every task's columns, quotes as ordinary characters, and one line for what is wrong."""

import pytest
from glue_files import make_glue

from fairseq.data.glue import mrpc
from fairseq.data.glue.tasks import TASKS, read_split, task
from fairseq.errors import ConfigError, DataError, FairseqError

SIZES = {  # rows of the real files: train, valid
    "CoLA": (8551, 1043),
    "RTE": (2490, 277),
    "SST-2": (67349, 872),
    "STS-B": (5749, 1500),
    "WNLI": (635, 71),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_reads(tmp_path, name):
    glue = make_glue(tmp_path)
    for split in TASKS[name].splits:
        read = read_split(TASKS[name], glue / name, split)
        assert len(read.text) == len(TASKS[name].text)
        assert {len(column) for column in read.text} == {12 if split == "train" else 5}
        assert all(len(text.split()) >= 3 and "\t" not in text and text == text.strip() for text in read.text[0])
        if split.startswith("test"):
            assert read.labels is None
        elif TASKS[name].regression:
            assert read.labels is not None and set(read.labels) <= {"1", "0.76", "0", "0.5066", "0.25"}
        else:
            assert read.labels is not None and set(read.labels) == TASKS[name].classes


@pytest.mark.parametrize("name", SIZES)
def test_every_row_of_the_real_files(glue_dir, name):
    train, valid = (read_split(TASKS[name], glue_dir / name, split) for split in ("train", "valid"))
    assert (len(train.text[0]), len(valid.text[0])) == SIZES[name]
    assert len(train.labels) == SIZES[name][0] and len(valid.labels) == SIZES[name][1]
    assert all(all(column) for column in valid.text)


def test_quotes_are_ordinary_characters(tmp_path):
    glue = make_glue(tmp_path, "SST-2")
    (glue / "SST-2" / "train.tsv").write_text('sentence\tlabel\n"a " b\t1\n" c\t0\n', encoding="utf-8")
    assert read_split(TASKS["SST-2"], glue / "SST-2", "train").text == [['"a " b', '" c']]


def test_unknown_task_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'STS-B'"):
        task("STSB")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("index\tsentence1\tlabel\n0\ta\tentailment\n", "no column 'sentence2'"),
        (
            "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n",
            "line 2: label 'maybe' is none of entailment, not_ent",
        ),
        ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\ta\n", "line 3: 2 columns, 4 expected"),
        ("index\tsentence1\tsentence2\tlabel\n", "no examples"),
        ("", "no column"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
    (tmp_path / "dev.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_split(TASKS["RTE"], tmp_path, "valid")
    assert "\n" not in str(caught.value) and "dev.tsv" in str(caught.value)


def test_missing_training_file_says_what_is_needed(tmp_path):
    glue = make_glue(tmp_path, "QNLI")
    (glue / "QNLI" / "train.tsv").unlink()
    with pytest.raises(DataError, match=r"QNLI has no train\.tsv in .*QNLI"):
        read_split(TASKS["QNLI"], glue / "QNLI", "train")


@pytest.mark.parametrize("score", ["5.1", "-1", "nan", "high"])
def test_scores_outside_the_scale(tmp_path, score):
    glue = make_glue(tmp_path, "STS-B")
    path = glue / "STS-B" / "dev.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("\t3.8\n", f"\t{score}\n"), encoding="utf-8")
    with pytest.raises(DataError, match="not between 0 and 5"):
        read_split(TASKS["STS-B"], glue / "STS-B", "valid")


def test_malformed_lines_are_skipped_in_training_files_that_have_them_only(tmp_path, caplog):
    glue = make_glue(tmp_path, "QQP")
    for file in ("train", "dev"):
        path = glue / "QQP" / f"{file}.tsv"
        path.write_text(path.read_text(encoding="utf-8") + "99\tbroken\n", encoding="utf-8")
    assert len(read_split(TASKS["QQP"], glue / "QQP", "train").text[0]) == 12
    assert "skipped 1 malformed lines" in caplog.text
    with pytest.raises(DataError, match="line 7"):
        read_split(TASKS["QQP"], glue / "QQP", "valid")


def test_mrpc_as_published_becomes_glue_files(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows = [f"{i % 2}\t{i}\t{i + 100}\tfirst {i}\tsecond {i}" for i in range(6)]
    published = tmp_path / "MRPC"
    published.mkdir()
    (published / mrpc.PUBLISHED["train"]).write_text("\r\n".join([header, *rows, ""]), encoding="utf-8", newline="")
    (published / mrpc.PUBLISHED["test"]).write_text("\n".join([header, *rows[:2], ""]), encoding="utf-8")
    assert mrpc.is_published_form(published)
    with pytest.raises(DataError, match="mrpc_dev_ids"):
        mrpc.split_published(published, tmp_path / "out")
    (published / mrpc.DEV_IDS).write_text("1\t101\n4\t104\n")
    mrpc.split_published(published, tmp_path / "out")
    read = {split: read_split(TASKS["MRPC"], tmp_path / "out", split) for split in ("train", "valid", "test")}
    assert read["valid"].text == [["first 1", "first 4"], ["second 1", "second 4"]]
    assert read["train"].labels == ["0", "0", "1", "1"] and len(read["test"].text[0]) == 2
    (published / mrpc.DEV_IDS).write_text("1\t102\n")
    with pytest.raises(FairseqError, match="lacks 1 pairs"):
        mrpc.split_published(published, tmp_path / "out")
