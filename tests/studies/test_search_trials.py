"""Trials of a search: the same seed gives the same ones, nothing is lost or done twice, the grid has an end."""

import contextlib
import multiprocessing
import os
import signal

import pytest

from fairseq.errors import ConfigError
from fairseq.studies.search.config import build_config
from fairseq.studies.search.records import read_records
from fairseq.studies.search.spaces import Space
from fairseq.studies.search.storage import mend_journal, open_storage
from fairseq.studies.search.trials import Name, Trials
from fairseq.studies.search.workers import Worker

DOCUMENT = {
    "config_name": "tiny",
    "space": {"x": [1, 2, 3], "y": ["a", "b"], "lr": {"low": 0.1, "high": 0.3, "step": 0.1}},
    "objectives": ["accuracy"],
    "trials": 6,
}


@contextlib.contextmanager
def opened(out, sampler="random", seed=1, **changes):
    changes.setdefault("storage", str(out / "journal.log"))  # which is made faster than a database
    config = build_config({**DOCUMENT, "samplers": [sampler], **changes})
    with Worker(out) as worker:
        storage = open_storage(config.storage, out)
        yield Trials(config, Space(config), Name(config.samplers[0], "none", seed), storage, out, worker)


def score(params):
    return params["x"] + (params["y"] == "b") + params["lr"]


def work(trials, most=100):
    """Finish up to `most` trials."""
    for _ in range(most):
        trial = trials.next()
        if trial is None:
            return
        trials.finish(trial, [score(trial.params)], {"accuracy": 1.0}, {})


def params_of(trials):
    return [record.params for record in read_records(trials.name, trials.study)]


@pytest.mark.parametrize(
    "sampler", ["random", "grid", "brute_force", "nsga2", "qmc", {"name": "tpe", "n_startup_trials": 2}]
)
def test_the_same_seed_gives_the_same_trials_also_in_parts(tmp_path, sampler):
    with opened(tmp_path / "whole", sampler) as whole:
        work(whole)
        expected = params_of(whole)
    for _ in range(3):
        with opened(tmp_path / "parts", sampler) as parts:
            work(parts, 2)
    assert params_of(parts) == expected and len(expected) == 6
    with opened(tmp_path / "other", sampler, seed=2) as other:
        work(other)
        assert params_of(other) != expected


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_the_grid_ends_when_every_cell_was_tried_also_after_a_resume(tmp_path, sampler):
    for count in (7, 100, 100):
        with opened(tmp_path, sampler, trials=1000) as trials:
            work(trials, count)
    cells = [tuple(params.items()) for params in params_of(trials)]
    assert len(cells) == len(set(cells)) == 18


def test_two_workers_share_a_grid(tmp_path):
    with opened(tmp_path, "grid", trials=18) as one, opened(tmp_path, "grid", trials=18) as two:
        asked = [trials.next() for _ in range(9) for trials in (one, two)]
        assert one.next() is None and two.next() is None  # all are under way
        for trial in asked:
            one.finish(trial, [1.0], {}, {})
    assert len({tuple(params.items()) for params in params_of(one)}) == 18


def killed_in_a_trial(out, storage):
    with opened(out, "grid", trials=18, storage=storage) as trials:
        work(trials, 3)
        trials.next()
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("storage", [None, "journal.log"])
def test_what_a_killed_process_was_at_is_tried_again(tmp_path, storage):
    storage = storage and str(tmp_path / storage)
    process = multiprocessing.get_context("fork").Process(target=killed_in_a_trial, args=(tmp_path, storage))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if storage:  # inside a line
        with open(storage, "rb+") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 1)
    with opened(tmp_path, "grid", trials=18, storage=storage) as trials:
        states = [record.state for record in read_records(trials.name, trials.study)]
        assert states == ["complete"] * 3 + ["running"]
        interrupted = params_of(trials)[3]
        work(trials, 1)
        assert interrupted.items() <= params_of(trials)[3].items()  # first of all, and counted once
        work(trials)
    records = read_records(trials.name, trials.study)
    assert [record.state for record in records] == ["complete"] * 18
    assert len({tuple(record.params.items()) for record in records}) == 18


def test_a_journal_is_cut_to_its_last_whole_line(tmp_path):
    journal = tmp_path / "journal.log"
    with opened(tmp_path, storage=str(journal)) as trials:
        work(trials, 2)
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    assert mend_journal(journal) == 19 and journal.read_bytes() == whole
    with opened(tmp_path, storage=str(journal)) as trials:
        work(trials)
    with opened(tmp_path, storage=str(journal)) as trials:
        assert len(params_of(trials)) == 6


def test_a_failed_cell_of_a_grid_counts_and_is_listed(tmp_path):
    with opened(tmp_path, "grid", trials=18) as trials:
        trials.fail(trials.next(), ConfigError("no such model"))
        work(trials)
        records = read_records(trials.name, trials.study)
    assert [record.state for record in records] == ["failed"] + ["complete"] * 17
    assert records[0].error == "no such model"


def test_another_search_in_the_same_storage_is_refused(tmp_path):
    with opened(tmp_path):
        pass
    with opened(tmp_path, trials=50):  # how long is free
        pass
    with pytest.raises(ConfigError, match="`space` was"), opened(tmp_path, space={"x": [1, 2]}):
        pass


@pytest.mark.parametrize(
    "storage, message",
    [("search.txt", "a journal whose name ends in"), ("nosql://x", "cannot open the storage nosql://x"),
     ("postgresql://me:secret@nowhere/db", "cannot open the storage postgresql://me@nowhere/db")],
)  # fmt: skip
def test_storages_that_cannot_be_opened_are_one_line(tmp_path, storage, message):
    with pytest.raises(ConfigError, match=message) as error:
        open_storage(storage, tmp_path)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)
