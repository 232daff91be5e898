"""Errors of quantizers that a run records, as they are in the file and in the picture of it."""

import math

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph.error_log import FILE_NAME, PointErrorLog
from fairseq.logging.history import read_history
from fairseq.quantization import quantize_model
from fairseq.quantization.quantized_model import quantization_of
from fairseq_cli import plot as plot_cli

INT4 = ("--quantization", "int4", "--max-update", "8", "--log-interval", "1")


def test_run_records_resumes_and_draws(runs) -> None:
    runs.trained("whole", *INT4, "--point-errors-interval", "3")
    records = read_history(runs.folder / "whole" / FILE_NAME)
    assert sorted({record["num_updates"] for record in records}) == [3, 6]
    assert {record["tag"] for record in records} == {"weight", "activation", "gradient"}
    paths = {record["quantizer"] for record in records}
    plan = runs.checkpoint("whole")["quantization"]["plan"]
    assert paths == {row["quantizer"] for row in plan if row["bits"]} and len(records) == 2 * len(paths)
    for record in records:
        assert record["bits"] == ("8" if record["tag"] == "gradient" else "4")
        assert 0 < record["relative_l2"] < 1 and 0 < record["cosine"] <= 1 and record["count"] > 0
        assert record["sqnr"] == pytest.approx(-20 * math.log10(record["relative_l2"]), abs=1e-6)

    runs.trained("plain", *INT4)
    assert runs.losses("plain") == runs.losses("whole")  # looking changes nothing
    assert not (runs.folder / "plain" / FILE_NAME).exists()

    runs.trained("parts", *INT4, "--point-errors-interval", "3", "--save-interval-updates", "4")
    with open(runs.folder / "parts" / FILE_NAME, "a") as file:  # as of updates that were done and then lost
        file.write('{"tag": "weight", "epoch": null, "num_updates": 99, "quantizer": "x"}\n')
    (last,) = (runs.folder / "parts").glob("checkpoint_*_4.pt")
    runs.trained("parts", *INT4, "--max-update", "9", "--point-errors-interval", "3", "--restore-file", str(last))
    again = read_history(runs.folder / "parts" / FILE_NAME)
    assert sorted({record["num_updates"] for record in again}) == [3, 6, 9]
    assert [record for record in again if record["num_updates"] <= 6] == records

    found = runs.call(plot_cli.cli_main, [runs.folder / "whole", "--errors", "--match", "*.fc1.*"])
    assert found.code == 0 and "point_errors.png: sqnr, clipped of 3 quantizers" in found.out
    assert (runs.folder / "whole" / "point_errors.png").read_bytes().startswith(b"\x89PNG")


def test_what_has_no_effect_is_said(runs) -> None:
    for flags, why in (((), "the model is not quantized"), (INT4, "checkpoint.no_save leaves it no folder")):
        words = (*flags, "--max-update", "1", "--point-errors-interval", "3", "--no-save")
        assert f"common.point_errors_interval has no effect: {why}" in runs.trained("run", *words).out


@pytest.mark.parametrize(
    "words, message",
    [
        (("--errors",), "train with common.point_errors_interval=100"),
        (("--match", "*"), "--match chooses quantizers; it goes with --errors"),
        (("other", "--errors"), "--errors draws one run, got 2"),
    ],
)
def test_plot_says_in_one_line_what_is_wrong(runs, words: tuple[str, ...], message: str) -> None:
    (runs.folder / "run").mkdir()
    result = runs.call(plot_cli.cli_main, [runs.folder / "run", *words])
    assert result.code in (1, 2) and message in result.err and result.err.count("\n") == 1


def test_numbers_and_own_loops(tmp_path) -> None:
    torch.manual_seed(1)
    model = quantize_model(nn.Sequential(nn.Linear(8, 4)), "mxfp8", num_grad_bits=0)
    context, x = quantization_of(model).context, torch.randn(5, 8)
    log = PointErrorLog(tmp_path / "run" / FILE_NAME, every=2)
    for update in range(4):
        with log.watching(context, update):
            assert context.needs_tensors == (update % 2 == 1)
            model(x * (update + 1))
        log.write(update + 1)
    records = [record for record in read_history(log.path) if record["quantizer"] == "0.input"]
    assert [record["num_updates"] for record in records] == [2, 4] and context.callbacks == []
    rounded = model[0].quantizers.quantizer("input").fake(4 * x, 8)
    assert records[1]["relative_l2"] == pytest.approx(float((rounded - 4 * x).norm() / (4 * x).norm()), rel=1e-5)
    assert records[1]["bias"] == pytest.approx(float((rounded - 4 * x).mean()), rel=1e-4, abs=1e-8)
    with log.watching(context, 5):
        model(x)
    with log.watching(context, 6):  # of an update that was skipped nothing is left
        model(x)
    log.write(7)
    assert max(record["num_updates"] for record in read_history(log.path)) == 4
    with pytest.raises(ConfigError, match="every 1 or more updates, got 0"):
        PointErrorLog(tmp_path / FILE_NAME, every=0)
