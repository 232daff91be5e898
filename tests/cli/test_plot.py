"""fairseq-plot: what it reads (history files, fairseq's log lines) and what it draws."""

import pytest

from fairseq.errors import ConfigError, DataError
from fairseq.logging.history import History
from fairseq.studies.records import Run, find_runs, read_log
from fairseq_cli import plot as plot_cli

JSON_LOG = """\
2026-11-21 10:00:00 | INFO | fairseq_cli.train | {not a record}
2026-11-21 10:00:01 | INFO | train_inner | {"update": 0.5, "loss": "0.9", "num_updates": "10", "lr": "1e-05"}
[2026-11-21 10:00:02,123][valid][INFO] - {"valid_loss": 0.8, "valid_accuracy": "61.4", "valid_num_updates": "20"}
2026-11-21 10:00:03 | INFO | train_inner | {"epoch": 2, "update": 1.5, "loss": "nan", "num_updates": "30", "lr": "0"}
"""
SIMPLE_LOG = """\
2026-11-21 10:00:01 | INFO | train_inner | epoch 001:     10 / 20 loss=0.9, ppl=1.87, num_updates=10, lr=1e-05
2026-11-21 10:00:02 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 0.8 | accuracy 61.4 | num_updates 20
2026-11-21 10:00:03 | INFO | train | epoch 001 | loss 0.85 | num_updates 20 | lr 5e-06
"""


def make_run(folder, offset=0.0, bits=False):
    history = History.in_folder(folder)
    for update in (10, 20, 30):
        stats = {"loss": 1.0 / update + offset, "lr": update * 1e-5}
        history.append("train_inner", {**stats, "num_bits": update // 5} if bits else stats, step=update, epoch=1)
    for update in (15, 30):
        stats = {"loss": 2.0 / update, "accuracy": 50.0 + update, "best_accuracy": 50.0 + update, "mcc": 1.0}
        history.append("valid", stats, step=update, epoch=1)
    return folder


@pytest.mark.parametrize("text", [JSON_LOG, SIMPLE_LOG], ids=["json", "simple"])
def test_reads_fairseq_log_lines(tmp_path, text):
    (tmp_path / "hydra_train.log").write_text(text)
    (run,) = find_runs(tmp_path)
    assert run.series("train_inner", "loss") == [(10, 0.9)]  # the NaN is no point
    assert run.series("train_inner", "lr")[0] == (10, 1e-5)
    assert run.series("valid", "accuracy") == [(20, 61.4)]
    assert run.reported() >= {"loss", "lr", "accuracy"}


def test_lines_without_numbers_are_passed_over(tmp_path):
    (tmp_path / "a.log").write_text("hello\n2026 | INFO | fairseq.trainer | begin training epoch 1\n")
    assert read_log(tmp_path / "a.log") == []


def test_multirun_folder_gives_one_run_per_history(tmp_path):
    for name in ("0", "1"):
        make_run(tmp_path / "multirun" / name / "checkpoints")
    names = [run.name for run in find_runs(tmp_path / "multirun")]
    assert names == ["multirun/0", "multirun/1"]


def test_runs_are_named_after_their_folder(tmp_path):
    run = make_run(tmp_path / "lr1" / "checkpoints")
    assert [r.name for path in (run, run / "history.jsonl", tmp_path / "lr1") for r in find_runs(path)] == ["lr1"] * 3


def test_draws_every_series_in_its_panel(tmp_path):
    pytest.importorskip("matplotlib")
    from fairseq.studies.plots import draw

    runs = find_runs(make_run(tmp_path / "a")) + find_runs(make_run(tmp_path / "b", offset=0.5, bits=True))
    figure, panels = draw(runs)
    assert panels == ["loss", "accuracy", "lr", "num_bits"]  # accuracy: the best checkpoint is chosen by it, not by mcc
    lines = {key: [line.get_xydata().tolist() for line in axis.lines] for key, axis in zip(panels, figure.axes)}  # noqa: B905
    assert lines["loss"][0] == [[10, 0.1], [20, 0.05], [30, 1 / 30]]
    assert lines["loss"][1] == [[15, 2 / 15], [30, 2 / 30]]
    assert len(lines["loss"]) == 4
    assert lines["accuracy"] == [[[15, 65], [30, 80]]] * 2
    assert lines["num_bits"] == [[[10, 2], [20, 4], [30, 6]]]
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["training", "validation", "a", "b"]


def test_bits_are_drawn_from_every_change(tmp_path):
    """Between log lines too: a cycle may be shorter than their distance."""
    pytest.importorskip("matplotlib")
    from fairseq.studies.plots import draw

    history = History.in_folder(make_run(tmp_path, bits=True))
    for update, bits in ((1, 4), (3, 6), (5, 4), (29, 8)):
        history.append("bits", {"num_bits": bits}, step=update)
    figure, panels = draw(find_runs(tmp_path))
    (line,) = figure.axes[panels.index("num_bits")].lines
    assert line.get_xydata().tolist() == [[1, 4], [3, 6], [5, 4], [29, 8], [30, 8]]
    assert line.get_drawstyle() == "steps-post"


def test_single_metric_and_many_runs():
    pytest.importorskip("matplotlib")
    from fairseq.studies.plots import draw

    runs = [Run(str(i), [{"tag": "train", "num_updates": 1, "loss": i}]) for i in range(12)]
    figure, panels = draw(runs, ["loss"])
    assert panels == ["loss"] and len({line.get_color() for line in figure.axes[0].lines}) == 12


def test_unknown_metric_names_the_nearest(tmp_path):
    from fairseq.studies.plots import draw

    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        draw(find_runs(make_run(tmp_path)), ["acuracy"])


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "empty"])
def test_folder_without_a_run(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(DataError, match=str(tmp_path / "run")):
        find_runs(tmp_path / "run")


def test_command_writes_a_png_into_the_run(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    run = make_run(tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["fairseq-plot", str(run)])
    plot_cli.cli_main()
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "loss, accuracy, lr of 1 run" in capsys.readouterr().out
