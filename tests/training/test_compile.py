"""`common.compile`: the same numbers, and checkpoints that do not know of it."""

import pytest

from fairseq import trainer
from fairseq.training.precision import compile_model


@pytest.fixture
def traced(monkeypatch):
    """torch.compile up to its graphs, which then run as they are: no C++ compiler is needed, and seconds are."""
    monkeypatch.setattr(trainer, "compile_model", lambda model: compile_model(model, backend="aot_eager"))


def test_a_compiled_run_is_the_same_run(runs, traced):
    flags = ("--dropout", "0", "--attention-dropout", "0", "--max-update", "6")
    runs.trained("plain", *flags)
    runs.trained("compiled", *flags, "--compile")
    plain, compiled = runs.losses("plain"), runs.losses("compiled")
    assert compiled == pytest.approx(plain, rel=1e-5) and len(plain) == 6
    keys = runs.checkpoint("compiled")["model"].keys()
    assert keys == runs.checkpoint("plain")["model"].keys() and not any("_orig_mod" in key for key in keys)
