"""GPT-2 BPE through `tokenizers` against the published algorithm, on real text and on what breaks tokenizers."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pure_python_bpe import PurePythonBPE

from fairseq.data.encoders import build_bpe
from fairseq.data.encoders.byte_level import ByteLevelBPE
from fairseq.data.encoders.gpt2_bpe import get_encoder
from fairseq.data.encoders.gpt2_split import Splitter
from fairseq.data.encoders.gpt2_words import WordCache
from fairseq.errors import DataError

GLUE_TEXT = {"RTE": (1, 2), "CoLA": (3,), "SST-2": (0,)}


@pytest.fixture(scope="module")
def files(bpe_dir):
    return str(bpe_dir / "encoder.json"), str(bpe_dir / "vocab.bpe")


@pytest.fixture(scope="module")
def ours(files):
    return build_bpe(SimpleNamespace(_name="gpt2", gpt2_encoder_json=files[0], gpt2_vocab_bpe=files[1]))


@pytest.fixture(scope="module")
def oracle(files):
    return PurePythonBPE(*files)


def test_the_published_example(ours):
    assert ours.encode("Hello world!") == "15496 995 0"
    assert ours.decode("15496 995 0") == "Hello world!"
    assert ours.decode("15496 <mask> 0") == "Hello<mask>!"
    assert ours.is_beginning_of_word("995") and not ours.is_beginning_of_word("0")


@pytest.mark.parametrize("task", GLUE_TEXT)
def test_every_line_of_real_text(ours, oracle, glue_dir, task):
    lines = []
    for split in ("train", "dev"):
        with open(glue_dir / task / f"{split}.tsv", encoding="utf-8", newline="\n") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
        lines += [row[column] for row in rows for column in GLUE_TEXT[task]]
    encoded = ours.encode_lines(lines)
    assert len(lines) > 5000
    for line, ids in zip(lines, encoded, strict=True):
        assert ids == " ".join(map(str, oracle.encode(line))), line


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces ",
        "tab\tand\nnewline",
        "<|endoftext|>",
        "it's we'LL",
        "naïve Ⅷ ½ 你好 \U0001f600",
        "a\u00a0b",
        "\x00\x7f",
    ],
)
def test_odd_text(ours, oracle, text):
    assert ours.bpe.encode(text) == oracle.encode(text)
    assert ours.decode(ours.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_comes_back(ours, oracle, text):
    assert ours.bpe.encode(text) == oracle.encode(text)
    assert ours.decode(ours.encode(text)) == text


def test_an_id_outside_the_vocabulary_is_an_error(ours):
    with pytest.raises(DataError, match="BPE id 60000 is not in the vocabulary of 50257 tokens"):
        ours.decode("60000")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no BPE file .*encoder\.json"):
        build_bpe(SimpleNamespace(_name="gpt2", gpt2_encoder_json=str(tmp_path / "encoder.json"), gpt2_vocab_bpe="x"))


def test_a_damaged_file_is_one_line(tmp_path, files):
    (tmp_path / "encoder.json").write_text('{"a": 1')
    with pytest.raises(DataError, match=r"encoder\.json is no JSON") as caught:
        build_bpe(
            SimpleNamespace(_name="gpt2", gpt2_encoder_json=str(tmp_path / "encoder.json"), gpt2_vocab_bpe=files[1])
        )
    assert "\n" not in str(caught.value)


SPACED = st.text(alphabet=" a'sL1.é\u00a0\t\n\u2003\x1c", max_size=12)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(st.text(max_size=15) | SPACED, max_size=4))
def test_lines_by_their_words_equal_whole_lines(ours, oracle, lines):
    assert ours.bpe.encode_batch(lines) == [oracle.encode(line) for line in lines]


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(["'", "s", "ll", "LL", "re", " ", "  ", "\n", "\u00a0", "!", "7", "\u00bd", "\u4f60"])
    )
)
def test_contractions_and_spaces_in_any_order(ours, oracle, pieces):
    text = "".join(pieces)
    assert ours.bpe.encode_batch([text, "", text]) == [oracle.encode(text), [], oracle.encode(text)]


def test_words_as_long_as_a_key_or_longer(ours, oracle):
    lines = ["a" * size + " " + "\0" * size for size in range(1, 40)]
    for _ in range(2):  # once new, once known
        assert ours.bpe.encode_batch(lines) == [oracle.encode(line) for line in lines]


@pytest.mark.parametrize("prefix", [False, True])
def test_arrays_and_lists_equal_single_lines(files, prefix):
    bpe = ByteLevelBPE(*files, add_prefix_space=prefix)
    lines = ["a rose is a rose", "is  it", " so", "so ", "a b c d e", "", "\tna\u00efve"]
    one_by_one = [bpe.encode(line) for line in lines]
    assert bpe.encode_batch(lines) == one_by_one
    assert [ids.tolist() for ids in bpe.encode_arrays(lines)] == one_by_one
    assert bpe.encode_batch([]) == []


def test_a_full_cache_starts_afresh(files):
    bpe = ByteLevelBPE(*files)
    bpe._words = WordCache(bpe._encode_words, limit=4)
    lines = ["a rose is a rose", "is  it", "a b c d e", ""]
    for some in (lines, lines[::-1], ["x y z", "u v w"]):
        assert bpe.encode_batch(some) == [bpe.encode(line) for line in some]
    assert len(bpe._words) == 7  # six words and the end of a line


def test_words_without_a_slot_are_still_known():
    count = 150_000  # more than the table has slots
    cache = WordCache(lambda words: [[int(word.strip() or 0)] for word in words], limit=1 << 30)
    words = Splitter().split([str(n) for n in range(count)])
    for _ in range(2):
        ids, ends = cache.ids(words)
        assert ids.tolist() == [*range(count)] and ends.tolist() == [*range(1, count + 1)]


def test_every_published_token_encodes_as_itself(files):
    """What lets `published` skip the merges."""
    bpe = get_encoder(*files)
    assert len(bpe._whole) == 50257
    tokenize = bpe._tokenizer.model.tokenize
    others = [token for token, index in bpe._whole.items() if [part.id for part in tokenize(token)] != [index]]
    assert others == ["<|endoftext|>"]  # never one word: its letters and its signs are different words


def test_other_files_are_always_merged(tmp_path):
    """The token `abc` is one that merging never gives: `bc` comes first."""
    (tmp_path / "encoder.json").write_text('{"a": 0, "b": 1, "c": 2, "bc": 3, "ab": 4, "abc": 5}')
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\nb c\na b\nab c\n")
    bpe = get_encoder(str(tmp_path / "encoder.json"), str(tmp_path / "vocab.bpe"))
    assert bpe.encode_batch(["abc"]) == [bpe.encode("abc")] == [[0, 3]]
