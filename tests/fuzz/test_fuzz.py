"""Damaged files of every kind end in one line of ours. More of them, or one again: see run.py in this folder."""

import random

import mutations
import pytest
import run


def test_every_reader():
    failures = run.run(mutations=500)
    assert not failures, "\n".join(map(run.describe, failures))


def test_what_would_be_found():
    failures = run.run(mutations=5, readers=list(run.BROKEN), seconds=1)
    found = {name: {f["error"] for f in failures if f["reader"] == name} for name in run.BROKEN}
    assert any("KeyError at readers.py" in error for error in found["raises"])
    assert any(error.startswith("a message of") for error in found["two lines"])
    assert any(error.startswith("memory: ") for error in found["allocates"])
    assert any(error.startswith("the process ended with -9") for error in found["ends"])
    assert any("TooLongError" in error for error in found["hangs"])  # which comes after the process that ended


def test_valid_files_that_are_not_read_end_the_run():
    with pytest.raises(RuntimeError, match="valid files are not read either"):
        run.run(mutations=1, readers=["unreadable"])


@pytest.mark.parametrize("kind", mutations.DAMAGES)
def test_the_same_seed_gives_the_same_damage(kind):
    content = b"name: 12\nvalues: [1.5, -3]\n" + bytes(range(64))
    results = {kind(content, random.Random(seed)) for seed in range(50)}
    assert {kind(content, random.Random(seed)) for seed in range(50)} == results and len(results) > 10
    assert kind(b"", random.Random(1)) is not None


def test_nested_data_is_changed_in_a_copy():
    value = {"a": [1, {"b": 2.0}], "c": "text"}
    results = [repr(mutations.change(value, random.Random(seed))) for seed in range(50)]
    assert value == {"a": [1, {"b": 2.0}], "c": "text"}
    assert len(set(results)) > 20 and repr(value) not in results[:5]
