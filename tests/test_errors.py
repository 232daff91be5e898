"""Messages for users stay on one line and short, whatever a file holds that they quote."""

import pickle

import pytest

from fairseq.data.errors import MissingDataError
from fairseq.errors import MAX_MESSAGE, CheckpointError, ConfigError, DataError, FairseqError, reason, shortened


@pytest.mark.parametrize("kind", [ConfigError, DataError, CheckpointError, MissingDataError])
def test_a_long_word_loses_its_middle(kind):
    message = str(kind(f"a.tsv, line 1: label {'9' * 5000!r} is none of 0, 1; get the file again"))
    assert message.startswith("a.tsv, line 1: label '999") and message.endswith(
        "9' is none of 0, 1; get the file again"
    )
    assert "..." in message and len(message) < 300


def test_many_words_are_cut_too_and_what_to_do_is_kept():
    message = str(DataError(f"a.tsv: {'word ' * 2000}; get the file again"))
    assert message.startswith("a.tsv: word") and message.endswith("get the file again")
    assert len(message) <= MAX_MESSAGE


def test_lines_become_one():
    assert str(DataError("a\nb\r\nc\u2028d")) == "a b c d"


def test_paths_are_whole():
    path = "/" + "/".join(["a" * 200] * 7)
    assert str(DataError(f"cannot read {path}")) == f"cannot read {path}"


def test_errors_go_through_pickle_as_workers_send_them():
    error = pickle.loads(pickle.dumps(MissingDataError("x" * 1000)))
    assert isinstance(error, MissingDataError) and str(error) == str(MissingDataError("x" * 1000))
    assert str(FairseqError()) == "" and DataError("a", 3).args == ("a", 3)


def test_shortened_takes_any_value():
    class Odd:
        def __repr__(self):
            return "two\nlines"

    assert shortened(10**5000) == "a int" and shortened(Odd()) == "two lines"
    assert len(shortened(["x" * 100] * 100)) == 80


def test_reasons():
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert reason(RuntimeError("a\n  b")) == "a b" and reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x " * 1000))) <= 200
