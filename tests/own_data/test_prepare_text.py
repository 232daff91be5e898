"""fairseq-prepare-text: the data folder says what the table said, and faults of a table are one line."""

import json
import shlex

import pytest
import yaml
from reviews_table import commands, write_reviews

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders import carried
from fairseq.data.indexed_dataset import make_dataset
from fairseq.errors import ConfigError, DataError
from fairseq.own_data import subwords, training_config
from fairseq.own_data.prepare import SubwordOptions, TableOptions, prepare

COLUMNS = TableOptions(["review"], "verdict")


@pytest.fixture
def command(monkeypatch, capfd):
    return commands(monkeypatch, capfd)


def read(dest, part, split):
    words = Dictionary.load(str(dest / part / "dict.txt"))
    return [words.string(item) for item in make_dataset(str(dest / part / split), "infer")]


def test_folder_says_what_the_table_said(tmp_path, command):
    rows = write_reviews(tmp_path / "r.csv", 80)
    dest = tmp_path / "r-bin"
    done = command("prepare_text", tmp_path / "r.csv", "--text", "review", "--label", "verdict", "--dest", dest)
    assert done.code == 0, done.err
    assert "note: 1 examples have no text; they are kept" in done.err
    assert done.out.startswith("train 72, valid 8 examples")
    assert "very good  train 54  valid 6\n  bad        train 18  valid 2" in done.out
    bpe = carried.build(carried.read(dest), "here")
    found = {}
    for split in ("train", "valid"):
        texts, labels = read(dest, "input0", split), read(dest, "label", split)
        found[split] = [(bpe.decode(text), label) for text, label in zip(texts, labels, strict=True)]
    assert sorted(found["train"] + found["valid"]) == sorted((row["review"], row["verdict"]) for row in rows)
    assert not list(tmp_path.glob(".*"))
    words = shlex.split(done.out.splitlines()[-1])
    assert words[:5] == ["fairseq-hydra-train", "--config-dir", str(dest), "--config-name", "train"]
    # the same table, the same bytes
    prepare(tmp_path / "r.csv", tmp_path / "again", COLUMNS)
    for path in dest.rglob("*"):
        if path.is_file() and path.name != "train.yaml":  # whose first line names the folder
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(dest)).read_bytes()


def test_pairs_given_splits_and_wordpiece(tmp_path):
    for name, labels in (("train", "ynnn"), ("valid", "yn"), ("test", "")):
        rows = [{"b": f"Answer {i}", "a": f"QUESTION {i}", "y": y} for i, y in enumerate(labels)]
        rows = rows or [{"a": "What?", "b": "That.", "y": None}]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(
        tmp_path / "train.jsonl",
        tmp_path / "bin",
        TableOptions(["a", "b"], "y"),
        SubwordOptions(kind="wordpiece", size=100),
        valid=tmp_path / "valid.jsonl",
        test=tmp_path / "test.jsonl",
    )
    assert prepared.counts == {"train": 4, "valid": 2, "test": 1}
    assert prepared.classes == {"n": {"train": 3, "valid": 1}, "y": {"train": 1, "valid": 1}}
    bpe = carried.build(carried.read(tmp_path / "bin"), "here")
    assert bpe.decode(read(tmp_path / "bin", "input0", "train")[1]) == "question 1"
    assert bpe.decode(read(tmp_path / "bin", "input1", "valid")[0]) == "answer 0"
    assert not (tmp_path / "bin" / "label" / "test.idx").exists()


def test_notes_tell_what_is_cut_and_what_was_seen(tmp_path, command):
    rows = [f"{'long ' * 200 if i == 3 else f'text {i}'},{'xy'[i % 2]}" for i in range(8)]
    (tmp_path / "t.csv").write_text(table(rows))
    (tmp_path / "v.csv").write_text(table(["text 2,x", "new,y"]))
    words = [tmp_path / "t.csv", "--valid", tmp_path / "v.csv", "--text", "review", "--label", "verdict"]
    done = command("prepare_text", *words, "--dest", tmp_path / "bin")
    assert done.code == 0 and "note: 1 of 10 examples have more than 128 tokens, and their end is cut" in done.err
    assert "note: 1 examples of the development set have a text that is trained on, too" in done.err


def test_regression(tmp_path):
    (tmp_path / "t.csv").write_text("text,y\n" + "".join(f"t{i},{i / 10}\n" for i in range(20)))
    prepared = prepare(tmp_path / "t.csv", tmp_path / "bin", TableOptions(["text"], "y", regression=True))
    assert (prepared.num_classes, prepared.counts) == (1, {"train": 18, "valid": 2})
    numbers = [
        float(y) for s in ("train", "valid") for y in (tmp_path / "bin/label" / f"{s}.label").read_text().split()
    ]
    assert sorted(numbers) == [i / 10 for i in range(20)]
    config = yaml.safe_load((tmp_path / "bin" / "train.yaml").read_text())
    assert config["task"]["regression_target"] and config["criterion"]["regression_target"]


def table(rows):
    return "review,verdict\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (
            ["a,x", "b,y", "c,"],
            {},
            r"t\.csv, line 4: no 'verdict'; add it, or leave such rows out by --skip-unlabelled",
        ),
        (["a,x", "b,<mask>"], {}, r"line 3: '<mask>' cannot be the name of a class"),
        (["a,x", "b,x"], {}, r"all of 'verdict' is 'x'; two classes are the fewest"),
        ([f"a{i},{i}" for i in range(30)], {}, r"'verdict' has 30 values in 30 rows; numbers take --regression"),
        ([f"a{i},t{i}" for i in range(30)], {}, r"has 30 values in 30 rows; name another column by --label"),
        (["a,x", "b,y"], {}, r"2 examples with 2 different texts are too few to hold out 0\.1"),
        (["a,x", "b,y"], {"valid": ["a,z"]}, r"v\.csv, line 2: the label 'z' does not occur in .*t\.csv \(x, y\)"),
        (["a,1", "b,x"], {"regression": True}, r"line 3: 'x' is not a number; leave out --regression"),
        (["a,1", "b,inf"], {"regression": True}, r"line 3: 'inf' is no finite number"),
        (["a,x", "b,y"], {"text": ["reviw"]}, r"has no column 'reviw', but review, verdict; did you mean 'review'"),
        (["a,x", "b,y"], {"text": ["verdict"]}, r"--text and --label name the column 'verdict' twice"),
        (["a,x", "b,y"], {"text": ["a", "b", "c"]}, r"--text takes one column or two"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(tmp_path, train, options, message):
    (tmp_path / "t.csv").write_text(table(train))
    valid = None
    if "valid" in options:
        valid = tmp_path / "v.csv"
        valid.write_text(table(options["valid"]))
    columns = TableOptions(options.get("text", ["review"]), "verdict", options.get("regression", False))
    with pytest.raises((DataError, ConfigError), match=message):
        prepare(tmp_path / "t.csv", tmp_path / "bin", columns, valid=valid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", *(["v.csv"] if valid else [])]


def test_rows_without_a_label_are_left_out_where_asked(tmp_path):
    (tmp_path / "t.csv").write_text(table([*(f"a{i},{'xy'[i % 2]}" for i in range(20)), "b,"]))
    prepared = prepare(tmp_path / "t.csv", tmp_path / "bin", TableOptions(["review"], "verdict", skip_unlabelled=True))
    assert (prepared.unlabelled, sum(prepared.counts.values())) == (1, 20)


def test_a_folder_is_replaced_only_if_it_is_one_of_ours(tmp_path):
    write_reviews(tmp_path / "r.csv", 40)
    prepare(tmp_path / "r.csv", tmp_path / "bin", COLUMNS)
    with pytest.raises(DataError, match="exists; remove it"):
        prepare(tmp_path / "r.csv", tmp_path / "bin", COLUMNS)
    prepare(tmp_path / "r.csv", tmp_path / "bin", COLUMNS, overwrite=True)
    (tmp_path / "bin" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds thesis\.txt, which --overwrite would remove"):
        prepare(tmp_path / "r.csv", tmp_path / "bin", COLUMNS, overwrite=True)
    assert (tmp_path / "bin" / "thesis.txt").read_text() == "mine"


def test_learned_subwords_take_any_text_as_text(tmp_path):
    words = subwords.trained(["<s> a <pad> [UNK] é"] * 3, "bpe", 300, False, tmp_path / "bpe")
    (ids,) = words.encode(["<s> 日本 <mask>\n"])
    assert ids[-1] == words.dictionary.eos() and min(ids[:-1]) >= words.dictionary.nspecial
    assert words.bpe().decode(words.bpe().encode("<s> 日本 <mask>")) == "<s> 日本 <mask>"
    with pytest.raises(ConfigError, match="bpe takes 256 or more pieces"):
        subwords.trained(["a"], "bpe", 200, False, tmp_path / "small")


@pytest.mark.parametrize("kind", subwords.KINDS)
def test_the_same_texts_give_the_same_subwords(tmp_path, kind):
    texts = ["the cat sat on the mat and the dog ate a rat that ran to the hat", "Ein Ärgernis: 日本, 1234."] * 3
    for number in range(4):
        subwords.trained(texts, kind, 300, False, tmp_path / str(number))
    assert len({(tmp_path / str(number) / "tokenizer.json").read_bytes() for number in range(4)}) == 1
    words = subwords.from_folder(tmp_path / "0").bpe()
    assert "[UNK]" not in words.encode("the hat the ärgernis").split()


@pytest.mark.parametrize("cased", [False, True])
def test_tokenizer_files_without_a_dictionary(tmp_path, cased):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm\nFilm\n##s\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": not cased}))
    words = subwords.from_folder(tmp_path)
    (ids,) = words.encode(["Films x"])
    assert [words.dictionary[index] for index in ids] == ["Film" if cased else "film", "##s", "<unk>", "</s>"]
    with pytest.raises(DataError, match="has no tokenizer"):
        subwords.from_folder(tmp_path.parent)


@pytest.mark.parametrize("name", ["scratch", "imported"])
def test_example_configs_are_what_the_command_writes(repository, name, tmp_path, fixtures, command):
    example = yaml.safe_load((repository / "examples" / "own_data" / "config" / f"{name}.yaml").read_text())
    start = None
    if name == "imported":
        assert command("import_hf", fixtures / "hf" / "roberta", "--dest", tmp_path / "hf").code == 0
        start = tmp_path / "hf" / "model.pt"
    ours = training_config.settings(2, 8000, start)
    if start is not None:
        ours["checkpoint"]["restore_file"] = "???"
        ours["model"] = {"_name": "roberta"}
        ours["task"]["max_positions"] = example["task"]["max_positions"]
    ours["task"]["num_classes"] = "???"
    assert ours == example
