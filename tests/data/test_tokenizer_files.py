"""Files of tokenizers are checked before the library sees them: what is wrong is one line that names the file."""

import json

import numpy as np
import pytest

from fairseq.data.encoders import tokenizer_files
from fairseq.data.encoders.byte_level import ByteLevelBPE, byte_alphabet
from fairseq.data.encoders.hf_tokenizer import from_json
from fairseq.data.encoders.sentences import RobertaEncoder
from fairseq.errors import DataError

LETTERS = {letter: index for index, letter in enumerate(sorted(byte_alphabet().values()))}


@pytest.fixture
def files(tmp_path):
    """Write both files; returns their paths."""

    def write(vocab, merges="#version: 0.2\nt h\n"):
        paths = tmp_path / "encoder.json", tmp_path / "vocab.bpe"
        paths[0].write_text(json.dumps(vocab))
        paths[1].write_text(merges)
        return [str(path) for path in paths]

    return write


def refused(call, message):
    with pytest.raises(DataError, match=message) as error:
        call()
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"th": 100_000}, "'th' has id 100000 among 257 tokens"),
        ({"th": -1}, "'th' has no id, but -1"),
        ({"th": True}, "'th' has no id, but True"),
        ({"th": 0}, "both have id 0"),
        ({"th": "1" * 5000}, "'th' has no id, but '111"),
        ({"\ud800": 256}, "is no text"),
    ],
)
def test_ids(changes, message, files):
    refused(lambda: ByteLevelBPE(*files({**LETTERS, **changes}, "")), message)


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        ("t h\nt x\n", "the merge 't' 'x' needs the token 'tx'"),
        ("t ☃\n", "needs the token '☃'"),
        ("t h\nt\n", "expected two tokens and a space, found 't'"),
        ("t h x\n", "found 't h x'"),
        ("t \n", "found 't '"),
        ("\n", "found ''"),
        (f"t {'x' * 5000}\n", "needs the token 'xxx"),
    ],
)
def test_merges(merges, message, files):
    refused(lambda: ByteLevelBPE(*files(LETTERS | {"th": 256}, merges)), message)


def test_lines_end_as_on_any_system(files):
    paths = files(LETTERS | {"th": 256}, "#version: 0.2\r\nt h\r\n")
    assert tokenizer_files.read_merges(paths[1]) == [("t", "h")]
    assert ByteLevelBPE(*paths).encode("th") == [256]


def test_ids_may_have_gaps(files, tmp_path):
    paths = files(LETTERS | {"th": 300})
    (tmp_path / "dict.txt").write_text("".join(f"{index} 1\n" for index in range(301)))
    encoder = RobertaEncoder(tmp_path)
    (ids,) = encoder.encode(["th"])
    np.testing.assert_array_equal(ids, [encoder.dictionary.index("300"), encoder.dictionary.eos()])
    assert ByteLevelBPE(*paths).num_ids == 301


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"vocab": {"t": 0, "h": 1}, "merges": ["t h"]}, "the merge 't' 'h' needs the token 'th'"),
        ({"vocab": {"t": 0, "h": 1}, "merges": [["t", "h"]]}, "the merge 't' 'h' needs the token 'th'"),
        ({"vocab": {"t": 0, "h": 1}, "merges": ["t"]}, "a merge of other than two tokens"),
        ({"vocab": {"t": 0, "h": 1}, "merges": [["t", 1]]}, "does not describe a tokenizer"),
        ({"vocab": {"t": 0, "h": 100_000}, "merges": []}, "'h' has id 100000 among 2 tokens"),
        ({"vocab": [["t"], [1]]}, "does not describe a tokenizer"),
        ({"merges": []}, "does not describe a tokenizer"),
    ],
)
def test_a_description(model, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "BPE", **model}}))
    refused(lambda: from_json(str(path)), message)


def test_merges_with_a_prefix_of_inner_pieces():
    tokens = {"t": 0, "##h": 1, "th": 2}
    described = {"model": {"vocab": tokens, "merges": ["t ##h"], "continuing_subword_prefix": "##"}}
    tokenizer_files.check_description(described, "tokenizer.json")


def test_faults_of_the_library_are_errors_and_interrupts_are_not():
    class PanicException(BaseException):
        pass

    def failing(error):
        with tokenizer_files.library_errors("cannot read x"):
            raise error

    refused(lambda: failing(PanicException("index 5\nof 4")), "cannot read x: index 5 of 4; get the files again")
    refused(lambda: failing(Exception("odd")), "cannot read x: odd")
    with pytest.raises(KeyboardInterrupt):
        failing(KeyboardInterrupt())
