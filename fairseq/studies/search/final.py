"""The end of a search: the best trial is trained on all training data, and scored once on the test subset.

OUT/trials.csv, table.md, *.png, best.yaml, best.toml, test.json
"""

import contextlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, FairseqError
from fairseq.studies.files import replace_file
from fairseq.studies.search.best import TOML, YAML, write_best_toml, write_best_yaml
from fairseq.studies.search.pictures import draw_all
from fairseq.studies.search.records import best_record
from fairseq.studies.search.results import write_csv, write_table
from fairseq.studies.search.stages import Outcome, Stages, Subsets
from fairseq.studies.search.under_way import Search
from fairseq.studies.search.workers import locked

TEST, CSV, TABLE, BEST = "test.json", "trials.csv", "table.md", "best"


def score_best(search: Search, test: Optional[Subsets], say: Callable[[str], None]) -> None:
    """Write best.yaml and best.toml; train the best trial as it says, and score it once, unless that was done."""
    config, out = search.config, search.out
    best = best_record(config, search.records)
    if best is None:
        return
    assignment = search.space.assignment(best.params)
    values = ", ".join(f"{key} {value:.5g}" for key, value in zip(config.value_names, best.values, strict=True))
    head = [
        f"The best trial of fairseq-search: {best.study}, trial {best.place}, {values}.",
        "Trials were scored on "
        + (f"{config.holdout:g} % of the training set." if config.holdout else f"{config.select}."),
    ]
    with locked(out / ".best.lock"):
        words = [*assignment.words, *(test.words() if test is not None else [])]
        run = "Run it: fairseq-hydra-train --config-dir OUT --config-name best"
        write_best_yaml(config, words, out / YAML, [*head, run])
        outcome: Optional[Outcome] = None
        if test is not None:
            say(f"scoring the best trial ({best.study}, trial {best.place}) on {test.score}")
            stages = Stages(config, out / BEST, test, keep=True)
            with contextlib.suppress(ValueError):
                try:
                    outcome = stages.run(assignment, best.study.stage, name="model")
                except FairseqError as error:
                    say(f"the best trial could not be scored on {test.score}: {error}")
        if outcome is not None and test is not None:
            scored: dict[str, Any] = {
                "study": str(best.study), "trial": best.place, "subset": test.score, "metrics": outcome.metrics,
                "stages": outcome.stages,
            }  # fmt: skip
            replace_file(out / TEST, json.dumps(scored, indent=1) + "\n")
        checkpoint = None if outcome is None else outcome.trained
        run = "Run it: fairseq-graph transform --config OUT/best.toml"
        run += "" if checkpoint is not None else " CHECKPOINT"
        write_best_toml(assignment, search.precision, out / TOML, [*head, run], checkpoint)


def write_table_of(search: Search) -> None:
    """trials.csv and table.md as they are now."""
    records = search.records
    write_csv(search.config, records, search.out / CSV)
    write_table(search.config, records, search.out / TABLE, _about(search), search.checks)


def write_results(search: Search) -> list[Path]:
    """Tables, and plots where matplotlib is installed; returns what is there."""
    write_table_of(search)
    files = [search.out / CSV, search.out / TABLE]
    with contextlib.suppress(ConfigError):  # no matplotlib: everything else is there
        files += draw_all(search.config, search.records, search.out)
    return files + [search.out / name for name in (YAML, TOML) if (search.out / name).exists()]


def _about(search: Search) -> dict[str, str]:
    """Lines on top of the table: what it was scored on, and with what."""
    import optuna
    import torch

    import fairseq

    config = search.config
    on = f"{config.holdout:g} % of the training set, which trials do not train on" if config.holdout else config.select
    about = {"Trials are scored on": str(on)}
    with contextlib.suppress(OSError, ValueError):
        test = json.loads((search.out / TEST).read_text(encoding="utf-8"))
        names = [objective.metric for objective in config.objectives]
        numbers = ", ".join(f"{name} {test['metrics'][name]:.5g}" for name in names if name in test["metrics"])
        about[
            f"Best trial ({test['study']}, trial {test['trial']}), trained on all of it, once on {test['subset']}"
        ] = numbers
    about["Versions"] = (
        f"fairseq {fairseq.__version__}, torch {torch.__version__}, optuna {optuna.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {torch.get_num_threads()} threads"
    )
    return about
