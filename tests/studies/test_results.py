"""Tables and pictures of studies, from folders written by hand."""

import csv

import pytest

from fairseq.studies.results import as_csv, as_table
from fairseq.studies.study_folder import FAILED, FINISHED, Cell, Step, Study, read_study
from fairseq.studies.study_plots import draw_bitops, draw_curves, draw_dimension


@pytest.fixture
def study(tmp_path):
    """Rows fp32 (once) and int (of three widths) on two tasks with two seeds; one failed cell."""
    cells = []
    for task, metric in (("rte", "accuracy"), ("cola", "mcc")):
        for row, bits in (("fp32", ""), ("int", "4"), ("int", "8"), ("int", "16")):
            for seed in (1, 2):
                dimensions = {"task": task, **({"bits": bits} if bits else {})}
                name = f"{row}{bits}-{task}-seed{seed}"
                cell = Cell(name, row, seed, dimensions, metric, steps=[Step("train", "fairseq-hydra-train", [])])
                cell.folder = tmp_path / "cells" / name
                cell.status, cell.seconds = FINISHED, 10.0
                cell.metrics = {metric: 60.0 + seed - (10 if bits == "4" else 0), "loss": None}
                cell.relative_bitops = float(bits or 32) / 32
                cells.append(cell)
    cells[-1].status, cells[-1].metrics, cells[-1].last_line = FAILED, {}, "no | data"
    for cell in cells:
        cell.write()
    (tmp_path / "study.yaml").write_text(f"title: Widths\ncontrol: fp32\ncells: [{', '.join(c.name for c in cells)}]\n")
    return read_study(tmp_path)


def test_csv(study):
    lines = list(csv.DictReader(as_csv(study).splitlines()))
    assert list(lines[0])[:8] == ["row", "task", "bits", "seed", "status", "accuracy", "mcc", "loss"]
    assert (lines[0]["accuracy"], lines[0]["mcc"], lines[0]["loss"], lines[0]["bits"]) == ("61.0", "", "nan", "")
    assert (lines[-1]["status"], lines[-1]["mcc"], lines[-1]["seconds"]) == ("failed", "", "")
    assert lines[-1]["last_line"] == "no | data"


def test_table(study):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in as_table(study).splitlines()]
    assert lines[0] == ["# Widths"]
    assert lines[2][:5] == ["row", "bits", "rte accuracy", "cola mcc", "average"]
    assert lines[4][:5] == ["fp32", "", "61.50 ± 0.71", "61.50 ± 0.71", "61.50 ± 0.71"]
    assert lines[5][:4] == ["int", "4", "51.50 ± 0.71 (-10.00)", "51.50 ± 0.71 (-10.00)"]
    assert lines[5][5] == "12.5 %" and lines[5][-1] == "2"
    assert lines[7][:4] == ["int", "16", "61.50 ± 0.71 (+0.00)", "61.00 (-0.50)"]
    assert lines[7][-1] == "1-2"
    assert "- `int16-cola-seed2`: no | data" in as_table(study)


def test_control_at_the_same_value(study):
    config = {**study.config, "control": "int"}
    table = as_table(Study(study.folder, config, study.cells))
    assert "61.50 ± 0.71 (+3.33)" in table  # fp32 lacks the dimension: against the mean over it


def test_pictures(study):
    figure = draw_bitops(study)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["rte: accuracy (%)", "cola: mcc"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["", "4", "8", "16"]
    figure = draw_dimension(study, "bits")
    assert figure.axes[0].lines[-1].get_xdata().tolist() == [4, 8, 16]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fp32", "int"]
    assert draw_curves(study) is None  # nothing was validated
    (study.cells[0].folder / "history.jsonl").write_text(
        '{"tag": "valid", "epoch": 1, "num_updates": 5, "accuracy": 50.0}\n'
        '{"tag": "valid", "epoch": 1, "num_updates": 9, "accuracy": 61.0}\n'
    )
    figure = draw_curves(study)
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[5, 50], [9, 61]]


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_legend_is_inside_of_its_figure_whatever_its_rows_are_called(study, count):
    """Of one panel, too, which is narrow."""
    for number, cell in enumerate(study.cells):
        cell.dimensions.pop("task")
        cell.row = f"block floating point, trained for one epoch more {number % count}"
        cell.metric, cell.metrics, cell.status = "accuracy", {"accuracy": 60.0}, FINISHED
    figure = draw_bitops(study)
    figure.canvas.draw()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert len(legend.get_texts()) == min(count, len(study.cells))
    assert box.x0 >= 0 and box.x1 <= whole.width and box.y0 >= 0
    assert figure.axes[0].get_window_extent().height > 0.4 * 4.5 * figure.dpi  # the panel keeps its height
    assert box.y1 <= figure.axes[0].get_window_extent().y0
