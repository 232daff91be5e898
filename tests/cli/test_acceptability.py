"""The embedded data set: balanced, reproducible, with held-out words, hard for a bag of words, and readable."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from fairseq.data.acceptability import generate, lexicon, split_words
from fairseq.data.acceptability.binarize import write_acceptability
from fairseq.data.acceptability.paradigms import PARADIGMS
from fairseq.data.dictionary import Dictionary
from fairseq.data.indexed_dataset import make_dataset
from fairseq.errors import ConfigError
from fairseq_cli import make_acceptability


@pytest.fixture(scope="module")
def splits():
    return {"train": generate("train", 8000), "valid": generate("valid", 1000)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    dest = tmp_path_factory.mktemp("acceptability")
    write_acceptability(dest, train=400, valid=120)
    return dest


def test_labels_are_balanced_in_every_paradigm(splits):
    for sentences in splits.values():
        counts = Counter((s.paradigm, s.label) for s in sentences)
        assert all(counts[name, 0] == counts[name, 1] > 0 for name in PARADIGMS)


def test_every_validation_sentence_has_a_word_that_training_never_saw(splits):
    seen = {piece for s in splits["train"] for piece in s.pieces.split()}
    held_out = lexicon.VALID_WORDS.stems()
    assert not seen & held_out
    assert all(held_out & set(s.pieces.split()) for s in splits["valid"])
    assert not {s.pieces for s in splits["train"]} & {s.pieces for s in splits["valid"]}


def test_vocabulary_is_exactly_what_sentences_use(splits):
    used = {piece for sentences in splits.values() for s in sentences for piece in s.pieces.split()}
    assert used == set(lexicon.vocabulary())


def test_no_stem_is_in_two_word_classes():
    stems = [stem for stems in lexicon._CLASSES for stem in stems]
    assert len(stems) == len(set(stems))


def test_text_splits_back_into_the_pieces_it_was_made_of(splits):
    for sentences in splits.values():
        assert all(split_words(s.text) == s.pieces for s in sentences)


def test_members_of_a_pair_differ_in_one_word_or_in_order():
    import random

    from fairseq.data.acceptability.paradigms import Speaker

    speaker = Speaker(lexicon.TRAIN_WORDS, random.Random(0))
    for name, paradigm in PARADIGMS.items():
        for _ in range(50):
            good, bad = (pair.replace(" ##", "").split() for pair in paradigm(speaker))
            if name == "negative_polarity":
                assert sorted(good) == sorted(bad) and good != bad
            else:
                assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1, name


def test_same_seed_same_sentences_on_every_machine(splits):
    text = "".join(f"{s.label} {s.pieces}\n" for s in splits["valid"])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "73d2d17af09d847e"
    assert generate("train", 100, seed=2) != generate("train", 100, seed=3)


def test_bag_of_words_is_near_chance(splits):
    from fairseq.data.acceptability.baselines import baselines

    scores = baselines(splits["train"], splits["valid"])
    assert scores["majority"] == 50
    assert 45 < scores["bag_of_words"] < 60


def test_data_folder_reads_back(data_dir):
    words = Dictionary.load(str(data_dir / "input0" / "dict.txt"))
    labels = Dictionary.load(str(data_dir / "label" / "dict.txt"))
    for split, file in (("train", "train.tsv"), ("valid", "dev.tsv")):
        rows = [line.split("\t") for line in (data_dir / file).read_text().splitlines()]
        sentences = make_dataset(str(data_dir / "input0" / split), "infer")
        classes = make_dataset(str(data_dir / "label" / split), "infer")
        assert len(sentences) == len(classes) == len(rows)
        for i, (_, label, mark, text) in enumerate(rows):
            assert words.string(sentences[i]) == split_words(text)
            assert labels.string(classes[i]) == label == ("0" if mark else "1")
            assert words.unk() not in sentences[i]
    assert set(json.loads((data_dir / "baselines.json").read_text())) == {"majority", "bag_of_words"}


@pytest.mark.parametrize("count", [0, 7, 10**6])
def test_sizes_that_cannot_be_made_are_refused(count):
    with pytest.raises(ConfigError, match=str(count)):
        generate("valid", count)


def test_command_prints_the_baselines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", "--dest", str(tmp_path / "bin"), "--train", "200", "--valid", "60"])
    make_acceptability.cli_main()
    assert "majority class 50.0 %, bag of words" in capsys.readouterr().out


def test_command_ends_in_one_line_where_it_cannot_write(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.argv", ["x", "--dest", str(tmp_path / "file"), "--train", "60", "--valid", "30"])
    with pytest.raises(SystemExit):
        make_acceptability.cli_main()
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write") and error.count("\n") == 1
